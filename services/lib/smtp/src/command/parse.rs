//! The parser of command lines.

use postino_types::{Recipient, ReversePath, Secret};

use super::{
    AuthCommand, BodyKind, ClientName, Command, CommandError, Internationalized, MailCommand,
    RcptCommand, path,
};

pub(super) fn command(line: &[u8]) -> Result<Command, CommandError> {
    let line = std::str::from_utf8(line).map_err(|_| CommandError::Octets)?;
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(CommandError::Octets);
    }
    // RFC 5321 section 4.1.1: receivers take blanks before the line end.
    let line = line.trim_end_matches([' ', '\t']);
    let (verb, argument) = match line.split_once([' ', '\t']) {
        Some((verb, argument)) => (verb, argument.trim_start_matches([' ', '\t'])),
        None => (line, ""),
    };
    match verb.to_ascii_uppercase().as_str() {
        "HELO" => client_name(argument).map(Command::Helo),
        "EHLO" => client_name(argument).map(Command::Ehlo),
        "LHLO" => client_name(argument).map(Command::Lhlo),
        "MAIL" => mail(argument).map(Command::Mail),
        "RCPT" => rcpt(argument).map(Command::Rcpt),
        "DATA" => alone(argument, Command::Data),
        "RSET" => alone(argument, Command::Rset),
        "QUIT" => alone(argument, Command::Quit),
        "STARTTLS" => alone(argument, Command::StartTls),
        "NOOP" => Ok(Command::Noop),
        "HELP" => Ok(Command::Help),
        "VRFY" => text(argument).map(Command::Vrfy),
        "EXPN" => text(argument).map(Command::Expn),
        "AUTH" => auth(argument).map(Command::Auth),
        _ => Err(CommandError::Unknown),
    }
}

fn alone(argument: &str, command: Command) -> Result<Command, CommandError> {
    match argument {
        "" => Ok(command),
        _ => Err(CommandError::Argument),
    }
}

fn text(argument: &str) -> Result<String, CommandError> {
    match argument {
        "" => Err(CommandError::Argument),
        _ => Ok(argument.to_owned()),
    }
}

fn client_name(argument: &str) -> Result<ClientName, CommandError> {
    ClientName::new(argument)
}

/// What follows `FROM:` or `TO:`, in any case.
fn behind<'a>(argument: &'a str, keyword: &str) -> Result<&'a str, CommandError> {
    match argument.get(..keyword.len()) {
        Some(start) if start.eq_ignore_ascii_case(keyword) => Ok(&argument[keyword.len()..]),
        _ => Err(CommandError::Argument),
    }
}

fn mail(argument: &str) -> Result<MailCommand, CommandError> {
    let argument = behind(argument, "FROM:")?;
    let (address, parameters) = path::split(argument).ok_or(CommandError::ReversePath)?;
    let reverse_path: ReversePath = address.parse().map_err(|_| CommandError::ReversePath)?;
    let mut mail = MailCommand::new(reverse_path);
    for parameter in parameters.split_ascii_whitespace() {
        mail_parameter(&mut mail, parameter)?;
    }
    Ok(mail)
}

fn mail_parameter(mail: &mut MailCommand, parameter: &str) -> Result<(), CommandError> {
    let (keyword, value) = match parameter.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (parameter, None),
    };
    match (keyword.to_ascii_uppercase().as_str(), value) {
        ("SIZE", Some(value)) => mail.size = Some(size(value)?),
        ("BODY", Some(value)) => mail.body = body(value)?,
        ("AUTH", Some(value)) if is_xtext(value) => mail.submitter = Some(value.to_owned()),
        ("SMTPUTF8", None) => mail.internationalized = Internationalized::Yes,
        ("SIZE" | "BODY" | "AUTH" | "SMTPUTF8", _) => return Err(CommandError::ParameterValue),
        _ => return Err(CommandError::ParameterUnknown),
    }
    Ok(())
}

/// Up to 20 digits (RFC 1870 section 4). What does not fit into 64 bits is too large anyway.
fn size(value: &str) -> Result<u64, CommandError> {
    match (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(value.parse().unwrap_or(u64::MAX)),
        false => Err(CommandError::ParameterValue),
    }
}

fn body(value: &str) -> Result<BodyKind, CommandError> {
    match value {
        v if v.eq_ignore_ascii_case("7BIT") => Ok(BodyKind::SevenBit),
        v if v.eq_ignore_ascii_case("8BITMIME") => Ok(BodyKind::EightBitMime),
        _ => Err(CommandError::ParameterValue),
    }
}

/// Visible ASCII; `<>` is no xtext but is sent for "unknown" (RFC 4954 section 5).
fn is_xtext(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic())
}

fn rcpt(argument: &str) -> Result<RcptCommand, CommandError> {
    let argument = behind(argument, "TO:")?;
    let (address, parameters) = path::split(argument).ok_or(CommandError::ForwardPath)?;
    let recipient: Recipient = address.parse().map_err(|_| CommandError::ForwardPath)?;
    match parameters.trim() {
        "" => Ok(RcptCommand { recipient }),
        _ => Err(CommandError::ParameterUnknown),
    }
}

fn auth(argument: &str) -> Result<AuthCommand, CommandError> {
    let mut words = argument.split_ascii_whitespace();
    let mechanism = words.next().ok_or(CommandError::Argument)?;
    let initial = words.next().map(Secret::new);
    match words.next() {
        None => Ok(AuthCommand {
            mechanism: mechanism.to_ascii_uppercase(),
            initial,
        }),
        Some(_) => Err(CommandError::Argument),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn parse(line: &str) -> Result<Command, CommandError> {
        Command::parse(line.as_bytes())
    }

    fn encoded(command: &Command) -> String {
        let mut output = BytesMut::new();
        command.encode(&mut output);
        String::from_utf8(output.to_vec()).expect("ASCII")
    }

    #[test]
    fn commands_come_back() {
        for line in [
            "HELO mx.example.org",
            "EHLO [192.0.2.1]",
            "LHLO localhost",
            "MAIL FROM:<>",
            "MAIL FROM:<alice@example.org> SIZE=1000 BODY=8BITMIME SMTPUTF8 AUTH=<>",
            "MAIL FROM:<\"a > b\"@example.org>",
            "RCPT TO:<bob@example.org>",
            "RCPT TO:<postmaster>",
            "DATA",
            "RSET",
            "NOOP",
            "VRFY alice",
            "EXPN staff",
            "HELP",
            "QUIT",
            "STARTTLS",
            "AUTH LOGIN",
            "AUTH PLAIN AHRlc3QAMTIzNA==",
        ] {
            let command = parse(line).expect(line);
            assert_eq!(encoded(&command), format!("{line}\r\n"));
        }
    }

    #[test]
    fn what_clients_send_is_understood() {
        for (line, meant) in [
            ("mail from: <a@example.org> ", "MAIL FROM:<a@example.org>"),
            (
                "MAIL FROM:a@example.org SIZE=1",
                "MAIL FROM:<a@example.org> SIZE=1",
            ),
            (
                "rcpt to:<@one.example,@two.example:b@example.org>",
                "RCPT TO:<b@example.org>",
            ),
            ("RCPT TO:<PostMaster>", "RCPT TO:<postmaster>"),
            ("NOOP anything at all", "NOOP"),
            ("auth plain =", "AUTH PLAIN ="),
        ] {
            let command = parse(line).expect(line);
            assert_eq!(encoded(&command), format!("{meant}\r\n"), "{line}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (line, error) in [
            ("", CommandError::Unknown),
            ("GET / HTTP/1.1", CommandError::Unknown),
            ("HELO", CommandError::Argument),
            ("HELO a b", CommandError::Argument),
            ("DATA now", CommandError::Argument),
            ("MAIL <a@example.org>", CommandError::Argument),
            ("MAIL FROM:", CommandError::ReversePath),
            ("MAIL FROM:<a@example.org", CommandError::ReversePath),
            ("MAIL FROM:<a@example.org>x", CommandError::ReversePath),
            ("MAIL FROM:<a b@example.org>", CommandError::ReversePath),
            (
                "MAIL FROM:<a@example.org> SIZE=x",
                CommandError::ParameterValue,
            ),
            (
                "MAIL FROM:<a@example.org> BODY=BINARYMIME",
                CommandError::ParameterValue,
            ),
            (
                "MAIL FROM:<a@example.org> HOLDFOR=1",
                CommandError::ParameterUnknown,
            ),
            ("RCPT TO:<>", CommandError::ForwardPath),
            ("RCPT TO:<bob>", CommandError::ForwardPath),
            (
                "RCPT TO:<b@example.org> NOTIFY=NEVER",
                CommandError::ParameterUnknown,
            ),
            ("AUTH", CommandError::Argument),
            ("NO\0OP", CommandError::Octets),
        ] {
            assert_eq!(parse(line), Err(error), "{line}");
        }
        assert_eq!(Command::parse(b"NOOP \xff"), Err(CommandError::Octets));
        assert!(matches!(
            parse("MAIL FROM:<> SIZE=99999999999999999999"),
            Ok(Command::Mail(mail)) if mail.size == Some(u64::MAX)
        ));
    }

    proptest! {
        #[test]
        fn no_input_panics_and_what_parses_comes_back(
            verb in prop_oneof!["MAIL FROM:", "RCPT TO:", "AUTH ", "EHLO ", ""],
            rest in ".{0,60}",
        ) {
            if let Ok(command) = parse(&format!("{verb}{rest}")) {
                let line = encoded(&command);
                let again = Command::parse(line.trim_end_matches("\r\n").as_bytes());
                prop_assert_eq!(again, Ok(command));
            }
        }
    }
}
