//! Lists as tables, as JSON lines, or by a template.

mod table;

use crate::context::Context;
use crate::failure::Failure;
use crate::template::Template;
use crate::value::Value;

/// The columns of a list: (field, title), and the fields that its table shows.
pub struct Columns {
    /// Every field that a template may name.
    pub fields: &'static [(&'static str, &'static str)],
    /// The table, as a template.
    pub table: &'static str,
    /// What `-q` shows.
    pub quiet: &'static str,
}

/// One line of a list. A member `Label` (labels by key) is for templates alone.
pub type Row = Vec<(&'static str, Value)>;

impl Columns {
    /// Shows rows as `--format` and `-q` ask.
    pub fn show(&self, context: &Context, format: Option<&str>, quiet: bool, rows: Vec<Row>) -> Result<(), Failure> {
        let format = format.unwrap_or("").trim();
        let (as_table, source) = match format {
            "" | "table" if quiet => (false, self.quiet),
            "" | "table" => (true, self.table),
            "json" => return json_lines(context, rows),
            _ => match format.strip_prefix("table ") {
                Some(custom) => (true, custom.trim_start()),
                None => (false, format),
            },
        };
        let source = source.replace("\\t", "\t").replace("\\n", "\n");
        let parse =
            || Template::parse(&source).map_err(|problem| Failure::new(format!("template parsing error: {problem}")));
        let template = parse()?;
        let mut lines = Vec::new();
        for mut row in rows {
            // Whoever asks for all of it gets it as Go sorts it, and without the helper for single labels.
            if source.contains("{{json .}}") {
                row.retain(|(name, _)| *name != "Label");
                row.sort_by_key(|(name, _)| *name);
            }
            let value = Value::Map(row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
            lines.push(
                template
                    .render(&value)
                    .map_err(|problem| Failure::new(format!("template parsing error: {problem}")))?,
            );
        }
        if as_table {
            let titles = self.fields.iter().map(|(name, title)| ((*name).to_owned(), Value::from(*title))).collect();
            let head = parse()?.into_head().render(&Value::Map(titles));
            lines.insert(0, head.map_err(|problem| Failure::new(format!("template parsing error: {problem}")))?);
            return context.write(table::align(&lines));
        }
        context.write(lines.into_iter().map(|line| line + "\n").collect::<String>())
    }
}

/// One object a line, members in alphabetical order.
fn json_lines(context: &Context, rows: Vec<Row>) -> Result<(), Failure> {
    let mut output = String::new();
    for mut row in rows {
        row.retain(|(name, _)| *name != "Label");
        row.sort_by_key(|(name, _)| *name);
        let object = Value::Map(row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        // Go escapes these three in documents that it makes itself.
        let escaped = object.to_json().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        output.push_str(&escaped);
        output.push('\n');
    }
    context.write(output)
}

/// Lines with tabs as a table, for outputs that are not lists.
pub fn align(lines: &[String], min_width: usize) -> String {
    table::align_to(lines, min_width)
}
