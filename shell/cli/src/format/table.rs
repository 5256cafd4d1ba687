//! Columns as Go's tabwriter lays them out for docker: at least 10 wide, 3 between.

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Lines with tabs to lines with aligned columns; the last cell of a line ends where it ends.
pub fn align(lines: &[String]) -> String {
    align_to(lines, MIN_WIDTH)
}

/// The same with another least width.
pub fn align_to(lines: &[String], min_width: usize) -> String {
    let rows: Vec<Vec<&str>> =
        lines.iter().flat_map(|line| line.split('\n')).map(|line| line.split('\t').collect()).collect();
    let mut output = String::new();
    let widths = widths(&rows, min_width);
    for (row, widths) in rows.iter().zip(widths) {
        for (column, cell) in row.iter().enumerate() {
            output.push_str(cell);
            if let Some(width) = widths.get(column) {
                output.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        output.push('\n');
    }
    output
}

/// The width of each cell but the last of its line. A column reaches over the neighbouring lines that have it.
fn widths(rows: &[Vec<&str>], min_width: usize) -> Vec<Vec<usize>> {
    let mut widths: Vec<Vec<usize>> = rows.iter().map(|row| vec![0; row.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < rows.len() {
            let length = widths[start..].iter().take_while(|row| row.len() > column).count();
            let block = start..start + length;
            let widest = rows[block.clone()].iter().map(|row| row[column].chars().count() + PADDING).max().unwrap_or(0);
            widths[block].iter_mut().for_each(|row| row[column] = widest.max(min_width));
            start += length + 1;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_line_up() {
        let lines =
            ["ID\tNAME\tPORTS".to_owned(), "0123456789ab\tweb\t".to_owned(), "x\ta-very-long-name\t*:80".to_owned()];
        assert_eq!(
            align(&lines),
            "ID             NAME               PORTS\n0123456789ab   web                \nx              a-very-long-name   *:80\n"
        );
    }
}
