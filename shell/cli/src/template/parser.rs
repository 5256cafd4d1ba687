//! Tokens to a tree.

use super::lexer::{Piece, Token, pieces};
use crate::value::Value;

/// A piece of output.
#[derive(Debug)]
pub enum Node {
    Text(String),
    Print(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { list: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

/// `$a, $b := x | f | g`.
#[derive(Debug)]
pub struct Pipeline {
    /// Names to bind, and whether they are new.
    pub names: Vec<String>,
    pub declares: bool,
    pub calls: Vec<Call>,
}

/// A function or a value with arguments.
#[derive(Debug)]
pub struct Call {
    pub head: Operand,
    pub arguments: Vec<Operand>,
}

/// A value, and the fields that are taken of it.
#[derive(Debug)]
pub struct Operand {
    pub base: Base,
    pub fields: Vec<String>,
    /// Its place in the template, in bytes.
    pub place: usize,
}

#[derive(Debug)]
pub enum Base {
    Dot,
    Variable(String),
    Function(String),
    Constant(Value),
    Group(Box<Pipeline>),
}

/// Parses a template.
pub fn parse(template: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser { pieces: pieces(template)?.into_iter() };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Template => Ok(nodes),
        End::Close | End::Else(_) => Err("unexpected {{end}} or {{else}}".to_owned()),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
}

enum End {
    Template,
    Close,
    /// What follows `else`.
    Else(Vec<(Token, usize)>),
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = match tokens.first() {
                Some((Token::Word(word), _)) => word.clone(),
                Some(_) => String::new(),
                None => return Err("missing value for command".to_owned()),
            };
            match keyword.as_str() {
                "end" => return Ok((nodes, End::Close)),
                "else" => return Ok((nodes, End::Else(tokens[1..].to_vec()))),
                "if" | "with" | "range" => nodes.push(self.block(&keyword, &tokens[1..])?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(format!("{{{{{keyword}}}}} is not supported here"));
                }
                _ => nodes.push(Node::Print(pipeline(&tokens)?)),
            }
        }
        Ok((nodes, End::Template))
    }

    fn block(&mut self, keyword: &str, tokens: &[(Token, usize)]) -> Result<Node, String> {
        let head = pipeline(tokens)?;
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            End::Template => return Err("unexpected EOF".to_owned()),
            End::Close => Vec::new(),
            End::Else(rest) if rest.is_empty() => match self.nodes()? {
                (nodes, End::Close) => nodes,
                _ => return Err("expected end; found {{else}}".to_owned()),
            },
            End::Else(rest) => match rest.first() {
                Some((Token::Word(word), _)) if word == "if" || word == "with" => {
                    vec![self.block(&word.clone(), &rest[1..])?]
                }
                _ => return Err("unexpected token in {{else}}".to_owned()),
            },
        };
        Ok(match keyword {
            "if" => Node::If { condition: head, then: body, otherwise },
            "with" => Node::With { value: head, then: body, otherwise },
            _ => Node::Range { list: head, body, otherwise },
        })
    }
}

fn pipeline(tokens: &[(Token, usize)]) -> Result<Pipeline, String> {
    let (names, declares, rest) = bindings(tokens);
    let mut reader = Reader { tokens: rest, position: 0 };
    let calls = reader.calls()?;
    match reader.peek() {
        None => Ok(Pipeline { names, declares, calls }),
        Some(token) => Err(format!("unexpected {token:?} in command")),
    }
}

/// `$x :=`, `$x =`, `$k, $v :=`.
fn bindings(tokens: &[(Token, usize)]) -> (Vec<String>, bool, &[(Token, usize)]) {
    let mut names = Vec::new();
    let mut position = 0;
    while let Some((Token::Variable(name), _)) = tokens.get(position) {
        names.push(name.clone());
        position += 1;
        match tokens.get(position).map(|(token, _)| token) {
            Some(Token::Comma) => position += 1,
            Some(Token::Declare) => return (names, true, &tokens[position + 1..]),
            Some(Token::Assign) => return (names, false, &tokens[position + 1..]),
            _ => break,
        }
    }
    (Vec::new(), false, tokens)
}

struct Reader<'a> {
    tokens: &'a [(Token, usize)],
    position: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position).map(|(token, _)| token)
    }

    fn calls(&mut self) -> Result<Vec<Call>, String> {
        let mut calls = vec![self.call()?];
        while self.peek() == Some(&Token::Pipe) {
            self.position += 1;
            calls.push(self.call()?);
        }
        Ok(calls)
    }

    fn call(&mut self) -> Result<Call, String> {
        let head = self.operand()?;
        let mut arguments = Vec::new();
        while !matches!(self.peek(), None | Some(Token::Pipe | Token::Close)) {
            arguments.push(self.operand()?);
        }
        Ok(Call { head, arguments })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let Some((token, place)) = self.tokens.get(self.position).cloned() else {
            return Err("missing value for command".to_owned());
        };
        self.position += 1;
        let mut fields = Vec::new();
        let base = match token {
            Token::Dot => Base::Dot,
            Token::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            Token::Variable(name) => Base::Variable(name),
            Token::Text(text) => Base::Constant(Value::Text(text)),
            Token::Integer(integer) => Base::Constant(Value::from(integer)),
            Token::Float(float) => Base::Constant(Value::from(float)),
            Token::Word(word) => match word.as_str() {
                "true" => Base::Constant(Value::Bool(true)),
                "false" => Base::Constant(Value::Bool(false)),
                "nil" => Base::Constant(Value::Null),
                _ => Base::Function(word),
            },
            Token::Open => {
                let calls = self.calls()?;
                if self.peek() != Some(&Token::Close) {
                    return Err("unclosed left paren".to_owned());
                }
                self.position += 1;
                Base::Group(Box::new(Pipeline { names: Vec::new(), declares: false, calls }))
            }
            other => return Err(format!("unexpected {other:?} in operand")),
        };
        while let Some(Token::Chained(name)) = self.peek() {
            fields.push(name.clone());
            self.position += 1;
        }
        Ok(Operand { base, fields, place })
    }
}
