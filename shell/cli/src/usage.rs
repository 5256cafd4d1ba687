//! Command lines that make no sense, in docker's words and with its exit codes: 125 for flags, 1 for words.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Docker's exit code for a flag that cannot be understood.
const FLAG_EXIT_CODE: u8 = 125;
/// … for an unknown command, or too many or too few words.
const WORD_EXIT_CODE: u8 = 1;

/// What to say, where, and how to end.
pub struct Verdict {
    pub text: String,
    pub on_output: bool,
    pub code: u8,
}

/// Judges a command line that could not be parsed.
pub fn judge(problem: &clap::Error, root: &mut Command, arguments: &[OsString]) -> Verdict {
    root.build();
    let (path, command) = named(root, arguments);
    match problem.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => said(problem.render().to_string(), true, 0),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            // A bare command shows what it could do; a bare group of commands is an error that does not count.
            let on_output = !path.contains(' ') || !command.has_subcommands();
            said(command.clone().render_help().to_string(), on_output, 0)
        }
        ErrorKind::InvalidSubcommand => unknown_command(problem, &path),
        ErrorKind::UnknownArgument => match context(problem, ContextKind::InvalidArg) {
            flag if flag.starts_with('-') && flag.len() > 1 => flag_problem(&unknown_flag(flag), &path, command),
            _ => arity(&path, command),
        },
        ErrorKind::MissingRequiredArgument => arity(&path, command),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => bad_value(problem, &path, command),
        _ => said(problem.render().to_string(), false, FLAG_EXIT_CODE),
    }
}

fn said(text: String, on_output: bool, code: u8) -> Verdict {
    Verdict { text, on_output, code }
}

/// The command that a line names, with all its words.
fn named<'a>(root: &'a Command, arguments: &[OsString]) -> (String, &'a Command) {
    let mut path = root.get_name().to_owned();
    let mut command = root;
    let mut words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if let Some(next) = command.find_subcommand(word) {
            path = format!("{path} {}", next.get_name());
            command = next;
        } else if let Some(flag) = word.strip_prefix('-') {
            let name = flag.trim_start_matches('-');
            let takes_value = command.get_arguments().any(|argument| {
                let long = argument.get_long() == Some(name);
                let short = name.len() == 1 && argument.get_short() == name.chars().next();
                (long || short) && argument.get_action().takes_values()
            });
            if takes_value {
                words.next();
            }
        } else if command.has_subcommands() {
            break;
        }
    }
    (path, command)
}

fn context(problem: &clap::Error, kind: ContextKind) -> &str {
    match problem.get(kind) {
        Some(ContextValue::String(text)) => text,
        _ => "",
    }
}

fn unknown_command(problem: &clap::Error, path: &str) -> Verdict {
    let word = context(problem, ContextKind::InvalidSubcommand);
    let usage = if path.contains(' ') { format!("Usage:  {path}\n\n") } else { String::new() };
    let program = path.split(' ').next().unwrap_or_default();
    let text =
        format!("{program}: unknown command: {path} {word}\n\n{usage}Run '{path} --help' for more information\n");
    said(text, false, WORD_EXIT_CODE)
}

fn unknown_flag(flag: &str) -> String {
    match flag.strip_prefix("--") {
        Some(_) => format!("unknown flag: {}", flag.split('=').next().unwrap_or(flag)),
        None => format!("unknown shorthand flag: '{}' in {flag}", flag.chars().nth(1).unwrap_or('-')),
    }
}

fn flag_problem(problem: &str, path: &str, command: &Command) -> Verdict {
    let text =
        format!("{problem}\n\nUsage:  {}\n\nRun '{path} --help' for more information\n", usage_line(path, command));
    said(text, false, FLAG_EXIT_CODE)
}

fn bad_value(problem: &clap::Error, path: &str, command: &Command) -> Verdict {
    let name = context(problem, ContextKind::InvalidArg);
    let value = context(problem, ContextKind::InvalidValue);
    // `--replicas <REPLICAS>`
    let flag = name.split([' ', '=', '[']).next().unwrap_or_default();
    if !flag.starts_with('-') {
        return said(problem.render().to_string(), false, WORD_EXIT_CODE);
    }
    if value.is_empty() {
        return flag_problem(&format!("flag needs an argument: {flag}"), path, command);
    }
    let argument = command.get_arguments().find(|argument| argument.get_long() == flag.strip_prefix("--"));
    let shown = match argument.and_then(clap::Arg::get_short) {
        Some(short) => format!("-{short}, {flag}"),
        None => flag.to_owned(),
    };
    let reason = std::error::Error::source(problem).map(ToString::to_string).unwrap_or_default();
    let reason = match reason.as_str() {
        text if text.contains("invalid digit") || text.contains("number too") => {
            let out_of_range = text.contains("number too");
            let why = if out_of_range { "value out of range" } else { "invalid syntax" };
            format!("strconv.ParseUint: parsing {value:?}: {why}")
        }
        "invalid float literal" => format!("strconv.ParseFloat: parsing {value:?}: invalid syntax"),
        "" => format!("strconv.ParseBool: parsing {value:?}: invalid syntax"),
        other => other.to_owned(),
    };
    flag_problem(&format!("invalid argument {value:?} for {shown:?} flag: {reason}"), path, command)
}

/// Too many or too few words.
fn arity(path: &str, command: &Command) -> Verdict {
    let mut least = 0;
    let mut most = Some(0);
    for argument in command.get_positionals() {
        least += usize::from(argument.is_required_set());
        let many =
            argument.get_action().takes_values() && argument.get_num_args().is_some_and(|count| count.max_values() > 1);
        most = if many { None } else { most.map(|most| most + 1) };
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (wanted, look) = match (least, most) {
        (0, Some(0)) => ("accepts no arguments".to_owned(), "Run"),
        (least, Some(most)) if least == most => (format!("requires {least} argument{}", plural(least)), "Run"),
        (0, Some(most)) => (format!("accepts at most {most} argument{}", plural(most)), "Run"),
        (least, Some(most)) => {
            (format!("requires at least {least} and at most {most} argument{}", plural(most)), "Run")
        }
        (least, None) => (format!("requires at least {least} argument{}", plural(least)), "See"),
    };
    let program = path.split(' ').next().unwrap_or_default();
    let usage = usage_line(path, command);
    let text =
        format!("{program}: '{path}' {wanted}\n\nUsage:  {usage}\n\n{look} '{path} --help' for more information\n");
    said(text, false, WORD_EXIT_CODE)
}

/// `skep service rm [OPTIONS] SERVICE [SERVICE...]`.
fn usage_line(path: &str, command: &Command) -> String {
    let mut line = path.to_owned();
    let is_own_flag =
        |argument: &clap::Arg| !argument.is_positional() && !argument.is_global_set() && argument.get_id() != "help";
    if command.get_arguments().any(is_own_flag) {
        line += " [OPTIONS]";
    }
    for argument in command.get_positionals() {
        let name = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let name = name.unwrap_or_else(|| argument.get_id().as_str().to_uppercase());
        let many = argument.get_num_args().is_some_and(|count| count.max_values() > 1);
        let name = if many { name.strip_suffix('S').unwrap_or(&name) } else { &name };
        let noun = path.split(' ').nth(1).unwrap_or_default().to_uppercase();
        let name = if matches!(name, "REFERENCE" | "NAME") { &noun } else { name };
        line += &match (argument.is_required_set(), many) {
            (true, true) => format!(" {name} [{name}...]"),
            (true, false) => format!(" {name}"),
            (false, true) if name == "COMMAND" => " [COMMAND] [ARG...]".to_owned(),
            (false, true) => format!(" [{name}...]"),
            (false, false) => format!(" [{name}]"),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction};

    fn judged(words: &[&str]) -> (String, u8) {
        let rm = Command::new("rm")
            .arg(Arg::new("force").short('f').long("force").action(ArgAction::SetTrue))
            .arg(Arg::new("count").short('c').long("count").value_parser(clap::value_parser!(u64)))
            .arg(Arg::new("NODE").required(true).num_args(1..));
        let node = Command::new("node").subcommand_required(true).subcommand(rm).subcommand(Command::new("ls"));
        let mut root = Command::new("skep").arg(Arg::new("host").short('H').long("host")).subcommand(node);
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        let problem = root.clone().try_get_matches_from(&arguments).expect_err("no sense");
        let verdict = judge(&problem, &mut root, &arguments);
        (verdict.text.lines().next().unwrap_or_default().to_owned(), verdict.code)
    }

    #[test]
    fn docker_says_it_so() {
        for (words, text, code) in [
            (&["skep", "nope"][..], "skep: unknown command: skep nope", 1),
            (&["skep", "-H", "x", "node", "nope"], "skep: unknown command: skep node nope", 1),
            (&["skep", "node", "ls", "x"], "skep: 'skep node ls' accepts no arguments", 1),
            (&["skep", "node", "rm"], "skep: 'skep node rm' requires at least 1 argument", 1),
            (&["skep", "node", "rm", "--nope"], "unknown flag: --nope", 125),
            (&["skep", "node", "rm", "-z", "a"], "unknown shorthand flag: 'z' in -z", 125),
            (
                &["skep", "node", "rm", "-c", "x", "a"],
                "invalid argument \"x\" for \"-c, --count\" flag: strconv.ParseUint: parsing \"x\": invalid syntax",
                125,
            ),
            (&["skep", "node", "rm", "--count"], "flag needs an argument: --count", 125),
        ] {
            assert_eq!(judged(words), (text.to_owned(), code), "{words:?}");
        }
    }
}
