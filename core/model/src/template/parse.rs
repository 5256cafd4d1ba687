//! Tokens to a tree.

use super::evaluate::{FUNCTIONS, PAYLOAD_FUNCTIONS};
use super::lex::{Piece, Token, pieces};

/// Blocks and brackets inside each other.
const DEPTH_MAX: usize = 32;

/// A piece of output.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { list: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

/// `$a, $b := x | f y`.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) declares: Vec<String>,
    /// Function or value first, then arguments.
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A value and the fields that are taken of it.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Function(String),
    Text(String),
    Number(i64),
    Bool(bool),
    Group(Pipeline),
}

/// Parses a template; `payload` allows what only secrets and configs may ask.
pub(super) fn parse(template: &str, payload: bool) -> Result<Vec<Node>, String> {
    let mut parser = Parser { pieces: pieces(template)?.into_iter(), payload, depth: 0 };
    match parser.nodes()? {
        (nodes, End::Template) => Ok(nodes),
        (_, End::Close) => Err("unexpected {{end}}".to_owned()),
        (_, End::Else(_)) => Err("unexpected {{else}}".to_owned()),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    payload: bool,
    depth: usize,
}

enum End {
    Template,
    Close,
    /// What follows `else`.
    Else(Vec<Token>),
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let mut tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.clone(),
                Some(_) => String::new(),
                None => return Err("missing value for command".to_owned()),
            };
            match keyword.as_str() {
                "end" => return Ok((nodes, End::Close)),
                "else" => return Ok((nodes, End::Else(tokens.split_off(1)))),
                "if" | "with" | "range" => nodes.push(self.block(&keyword, &tokens[1..])?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(format!("{{{{{keyword}}}}} is not supported"));
                }
                _ => nodes.push(Node::Print(self.whole_pipeline(&tokens)?)),
            }
        }
        Ok((nodes, End::Template))
    }

    fn block(&mut self, keyword: &str, tokens: &[Token]) -> Result<Node, String> {
        self.deeper()?;
        let head = self.whole_pipeline(tokens)?;
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            End::Template => return Err("unexpected EOF".to_owned()),
            End::Close => Vec::new(),
            End::Else(rest) => match rest.split_first() {
                None => match self.nodes()? {
                    (nodes, End::Close) => nodes,
                    _ => return Err("expected end after {{else}}".to_owned()),
                },
                Some((Token::Word(word), rest)) if word == "if" || word == "with" => {
                    vec![self.block(&word.clone(), rest)?]
                }
                Some(_) => return Err("unexpected token in {{else}}".to_owned()),
            },
        };
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If { condition: head, then: body, otherwise },
            "with" => Node::With { value: head, then: body, otherwise },
            _ => Node::Range { list: head, body, otherwise },
        })
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(format!("more than {DEPTH_MAX} levels")) } else { Ok(()) }
    }

    fn whole_pipeline(&mut self, tokens: &[Token]) -> Result<Pipeline, String> {
        let mut rest = tokens;
        let pipeline = self.pipeline(&mut rest)?;
        if rest.is_empty() { Ok(pipeline) } else { Err("unexpected right paren".to_owned()) }
    }

    /// Up to the end or a closing bracket, which stays.
    fn pipeline(&mut self, rest: &mut &[Token]) -> Result<Pipeline, String> {
        let mut declares = Vec::new();
        if let [Token::Variable(name), Token::Declare, ..] = *rest {
            declares.push(name.clone());
            *rest = &rest[2..];
        } else if let [Token::Variable(key), Token::Comma, Token::Variable(value), Token::Declare, ..] = *rest {
            declares.extend([key.clone(), value.clone()]);
            *rest = &rest[4..];
        }
        let (mut commands, mut current) = (Vec::new(), Vec::new());
        while let Some((token, after)) = rest.split_first() {
            match token {
                Token::Close => break,
                Token::Pipe => {
                    *rest = after;
                    commands.push(std::mem::take(&mut current));
                }
                _ => current.push(self.operand(rest)?),
            }
        }
        commands.push(current);
        if commands.iter().any(Vec::is_empty) {
            return Err("missing value for command".to_owned());
        }
        Ok(Pipeline { declares, commands })
    }

    fn operand(&mut self, rest: &mut &[Token]) -> Result<Operand, String> {
        let Some((token, after)) = rest.split_first() else { return Err("missing value".to_owned()) };
        *rest = after;
        let mut fields = Vec::new();
        let base = match token {
            Token::Dot => Base::Dot,
            Token::Field(name, _) => {
                fields.push(name.clone());
                Base::Dot
            }
            Token::Variable(name) => Base::Variable(name.clone()),
            Token::Text(text) => Base::Text(text.clone()),
            Token::Number(number) => Base::Number(*number),
            Token::Word(word) if word == "true" || word == "false" => Base::Bool(word == "true"),
            Token::Word(word) => self.function(word)?,
            Token::Open => {
                self.deeper()?;
                let group = self.pipeline(rest)?;
                let Some((Token::Close, after)) = rest.split_first() else {
                    return Err("unclosed left paren".to_owned());
                };
                *rest = after;
                self.depth -= 1;
                Base::Group(group)
            }
            Token::Pipe | Token::Close | Token::Comma | Token::Declare => {
                return Err("unexpected token in operand".to_owned());
            }
        };
        while let Some((Token::Field(name, true), after)) = rest.split_first() {
            fields.push(name.clone());
            *rest = after;
        }
        Ok(Operand { base, fields })
    }

    fn function(&self, word: &str) -> Result<Base, String> {
        let known = FUNCTIONS.contains(&word) || self.payload && PAYLOAD_FUNCTIONS.contains(&word);
        if known { Ok(Base::Function(word.to_owned())) } else { Err(format!("function {word:?} not defined")) }
    }
}
