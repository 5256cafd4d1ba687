//! Text to pieces: what stands for itself, and actions as tokens.

/// A stretch of the template.
#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.` alone.
    Dot,
    /// `.Name`; whether it follows what stands before without a space.
    Field(String, bool),
    /// `$name`, without the sign.
    Variable(String),
    Word(String),
    Text(String),
    Number(i64),
    Pipe,
    Open,
    Close,
    Comma,
    Declare,
}

const TRIMMED: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts a template at its actions.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim_next = false;
    loop {
        let (text, action) = match rest.find("{{") {
            Some(start) => (&rest[..start], Some(&rest[start + 2..])),
            None => (rest, None),
        };
        let mut text = if trim_next { text.trim_start_matches(TRIMMED) } else { text };
        let Some(mut inside) = action else {
            push_text(&mut pieces, text);
            return Ok(pieces);
        };
        if inside.starts_with('-') && inside[1..].starts_with(TRIMMED) {
            text = text.trim_end_matches(TRIMMED);
            inside = &inside[1..];
        }
        push_text(&mut pieces, text);
        let (tokens, after, trims) = action_tokens(inside)?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action(tokens));
        }
        (rest, trim_next) = (after, trims);
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Tokens up to the closing braces (`None` for a comment), what follows them, and whether that is trimmed.
fn action_tokens(text: &str) -> Result<(Option<Vec<Token>>, &str, bool), String> {
    let start = text.trim_start_matches(TRIMMED);
    if let Some(comment) = start.strip_prefix("/*") {
        let end = comment.find("*/").ok_or("unclosed comment")?;
        let (after, trims) = closing(&comment[end + 2..]).ok_or("comment ends before closing delimiter")?;
        return Ok((None, after, trims));
    }
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        if let Some((after, trims)) = closing(rest) {
            return Ok((Some(tokens), after, trims));
        }
        let trimmed = rest.trim_start_matches(TRIMMED);
        let spaced = trimmed.len() < rest.len() || tokens.is_empty();
        let (token, after) = token(trimmed, spaced)?;
        tokens.push(token);
        rest = after;
    }
}

fn closing(text: &str) -> Option<(&str, bool)> {
    let trimmed = text.trim_start_matches(TRIMMED);
    if let Some(after) = trimmed.strip_prefix("-}}").filter(|_| trimmed.len() < text.len()) {
        return Some((after, true));
    }
    trimmed.strip_prefix("}}").map(|after| (after, false))
}

fn token(text: &str, spaced: bool) -> Result<(Token, &str), String> {
    let first = text.chars().next().ok_or("unclosed action")?;
    let simple = |token: Token, length: usize| Ok((token, &text[length..]));
    match first {
        '|' => simple(Token::Pipe, 1),
        '(' => simple(Token::Open, 1),
        ')' => simple(Token::Close, 1),
        ',' => simple(Token::Comma, 1),
        ':' if text.starts_with(":=") => simple(Token::Declare, 2),
        '"' => quoted(&text[1..]),
        '`' => {
            let end = text[1..].find('`').ok_or("unterminated raw quoted string")?;
            Ok((Token::Text(text[1..=end].to_owned()), &text[end + 2..]))
        }
        '.' => {
            let (name, rest) = word(&text[1..]);
            let token = if name.is_empty() { Token::Dot } else { Token::Field(name.to_owned(), !spaced) };
            Ok((token, rest))
        }
        '$' => {
            let (name, rest) = word(&text[1..]);
            Ok((Token::Variable(name.to_owned()), rest))
        }
        '0'..='9' | '-' | '+' => {
            let end = text[1..].find(|char: char| !char.is_ascii_digit()).map_or(text.len(), |end| end + 1);
            let number = text[..end].parse().map_err(|_| format!("bad number syntax: {:?}", &text[..end]))?;
            Ok((Token::Number(number), &text[end..]))
        }
        first if first.is_alphabetic() || first == '_' => {
            let (name, rest) = word(text);
            Ok((Token::Word(name.to_owned()), rest))
        }
        other => Err(format!("unexpected {other:?} in action")),
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|char: char| !(char.is_alphanumeric() || char == '_')).unwrap_or(text.len());
    text.split_at(end)
}

fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((place, char)) = chars.next() {
        match char {
            '"' => return Ok((Token::Text(out), &text[place + 1..])),
            '\n' => break,
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, char @ ('"' | '\\'))) => out.push(char),
                _ => return Err("invalid escape in quoted string".to_owned()),
            },
            char => out.push(char),
        }
    }
    Err("unterminated quoted string".to_owned())
}
