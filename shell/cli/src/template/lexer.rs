//! Cuts a template into text and actions, and actions into tokens.

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Text(String),
    /// The tokens of an action, each with its place in the template (bytes).
    Action(Vec<(Token, usize)>),
}

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// `.`, or `.Name` directly after a space or `(`.
    Dot,
    Field(String),
    /// `.Name` directly after another operand.
    Chained(String),
    Variable(String),
    Word(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Declare,
    Assign,
    Pipe,
    Comma,
    Open,
    Close,
}

/// Splits at `{{` and `}}`, taking white space away where `{{-` and `-}}` ask for it.
pub fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim_next = false;
    while let Some(start) = rest.find("{{") {
        let mut text = &rest[..start];
        let mut action = &rest[start + 2..];
        if trim_next {
            text = text.trim_start();
        }
        if let Some(trimmed) = action.strip_prefix("- ").or_else(|| action.strip_prefix("-/*").map(|_| &action[1..])) {
            action = trimmed;
            text = text.trim_end();
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let offset = template.len() - action.len();
        let end = action_end(action).ok_or("unclosed action")?;
        rest = &action[end + 2..];
        let mut content = &action[..end];
        trim_next = content.ends_with(" -") || content.ends_with("*/-");
        if trim_next {
            content = &content[..content.len() - 1];
        }
        let is_comment = content.trim().starts_with("/*");
        if !is_comment {
            pieces.push(Piece::Action(tokens(content, offset)?));
        }
    }
    let text = if trim_next { rest.trim_start() } else { rest };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
    Ok(pieces)
}

/// Where `}}` is, outside of texts.
fn action_end(action: &str) -> Option<usize> {
    let bytes = action.as_bytes();
    let mut quote = None;
    let mut index = 0;
    while index < bytes.len() {
        match (quote, bytes[index]) {
            (Some(b'"'), b'\\') => index += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, b'"' | b'`') => quote = Some(bytes[index]),
            (None, b'}') if bytes.get(index + 1) == Some(&b'}') => return Some(index),
            _ => {}
        }
        index += 1;
    }
    None
}

fn tokens(content: &str, offset: usize) -> Result<Vec<(Token, usize)>, String> {
    let mut tokens = Vec::new();
    let mut rest = content;
    let mut after_operand = false;
    while let Some(first) = rest.chars().next() {
        let place = offset + content.len() - rest.len();
        let (token, length) = match first {
            space if space.is_whitespace() => {
                rest = &rest[space.len_utf8()..];
                after_operand = false;
                continue;
            }
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '.' => {
                let name = word(&rest[1..]);
                match (name.is_empty(), after_operand) {
                    (true, _) => (Token::Dot, 1),
                    (false, false) => (Token::Field(name.to_owned()), 1 + name.len()),
                    (false, true) => (Token::Chained(name.to_owned()), 1 + name.len()),
                }
            }
            '$' => {
                let name = word(&rest[1..]);
                (Token::Variable(name.to_owned()), 1 + name.len())
            }
            '"' => quoted(rest)?,
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            digit if digit.is_ascii_digit() || digit == '-' || digit == '+' => number(rest)?,
            letter if letter.is_alphabetic() || letter == '_' => {
                let name = word(rest);
                (Token::Word(name.to_owned()), name.len())
            }
            other => return Err(format!("unexpected {other:?} in operand")),
        };
        after_operand = matches!(token, Token::Field(_) | Token::Chained(_) | Token::Variable(_) | Token::Close);
        rest = &rest[length..];
        tokens.push((token, place));
    }
    Ok(tokens)
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

fn quoted(text: &str) -> Result<(Token, usize), String> {
    let mut content = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((Token::Text(content), index + 1)),
            '\\' => match characters.next() {
                Some((_, 'n')) => content.push('\n'),
                Some((_, 't')) => content.push('\t'),
                Some((_, 'r')) => content.push('\r'),
                Some((_, other)) => content.push(other),
                None => break,
            },
            other => content.push(other),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn number(text: &str) -> Result<(Token, usize), String> {
    let end = text[1..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(text.len(), |end| end + 1);
    let digits = &text[..end];
    let token = match digits.parse() {
        Ok(integer) => Token::Integer(integer),
        Err(_) => Token::Float(digits.parse().map_err(|_| format!("bad number syntax: {digits:?}"))?),
    };
    Ok((token, end))
}
