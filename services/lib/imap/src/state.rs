//! The states of a connection and what is allowed in each (RFC 3501 section 3).

use crate::command::Command;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nobody has logged in.
    NotAuthenticated,
    /// Somebody has; no mailbox is selected.
    Authenticated,
    /// A mailbox is selected.
    Selected(Access),
    /// The connection is being closed.
    Logout,
}

/// How a mailbox is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// By `SELECT`.
    ReadWrite,
    /// By `EXAMINE`: nothing may change, `\Recent` included.
    ReadOnly,
}

/// Why a command is not allowed now; each text is fit for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Answer `BAD`.
    #[error("log in first")]
    NeedsAuthentication,
    /// Answer `BAD`.
    #[error("select a mailbox first")]
    NeedsMailbox,
    /// Answer `BAD`.
    #[error("already logged in")]
    AlreadyAuthenticated,
    /// Answer `NO`.
    #[error("the mailbox is selected read-only")]
    ReadOnly,
    /// Answer `BAD`.
    #[error("logged out")]
    LoggedOut,
}

/// From which state on a command is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    NotAuthenticated,
    Authentication,
    Mailbox,
    WritableMailbox,
}

fn needs(command: &Command) -> Needs {
    match command {
        Command::Capability | Command::Noop | Command::Logout | Command::Id(_) => Needs::Nothing,
        Command::StartTls | Command::Authenticate { .. } | Command::Login(_) => {
            Needs::NotAuthenticated
        }
        Command::Enable(_)
        | Command::Select(_)
        | Command::Examine(_)
        | Command::Create(..)
        | Command::Delete(_)
        | Command::Rename { .. }
        | Command::Subscribe(_)
        | Command::Unsubscribe(_)
        | Command::List(_)
        | Command::Namespace
        | Command::Status(_)
        | Command::Idle => Needs::Authentication,
        Command::Check
        | Command::Close
        | Command::Unselect
        | Command::Search(..)
        | Command::Fetch(..)
        | Command::Copy(..) => Needs::Mailbox,
        Command::Expunge(_) | Command::Store(..) | Command::Move(..) => Needs::WritableMailbox,
    }
}

/// Whether `command` is allowed in `state`.
pub fn permit(state: State, command: &Command) -> Result<(), Refusal> {
    use State::{Authenticated, Logout, NotAuthenticated, Selected};
    match (needs(command), state) {
        (_, Logout) => Err(Refusal::LoggedOut),
        (Needs::Nothing, NotAuthenticated | Authenticated | Selected(_)) => Ok(()),
        (Needs::NotAuthenticated, NotAuthenticated) => Ok(()),
        (Needs::NotAuthenticated, Authenticated | Selected(_)) => {
            Err(Refusal::AlreadyAuthenticated)
        }
        (Needs::Authentication | Needs::Mailbox | Needs::WritableMailbox, NotAuthenticated) => {
            Err(Refusal::NeedsAuthentication)
        }
        (Needs::Authentication, Authenticated | Selected(_)) => Ok(()),
        (Needs::Mailbox | Needs::WritableMailbox, Authenticated) => Err(Refusal::NeedsMailbox),
        (Needs::Mailbox, Selected(_)) => Ok(()),
        (Needs::WritableMailbox, Selected(Access::ReadWrite)) => Ok(()),
        (Needs::WritableMailbox, Selected(Access::ReadOnly)) => Err(Refusal::ReadOnly),
    }
}

/// Whether `APPEND`, which is no [`Command`], is allowed in `state`.
pub fn permit_append(state: State) -> Result<(), Refusal> {
    permit(state, &Command::Namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Mailbox;

    const STATES: [State; 5] = [
        State::NotAuthenticated,
        State::Authenticated,
        State::Selected(Access::ReadWrite),
        State::Selected(Access::ReadOnly),
        State::Logout,
    ];

    #[test]
    fn each_command_has_its_states() {
        use Refusal::{AlreadyAuthenticated, LoggedOut, NeedsAuthentication, NeedsMailbox};
        let table = [
            (Command::Noop, [Ok(()), Ok(()), Ok(()), Ok(())]),
            (
                Command::StartTls,
                [
                    Ok(()),
                    Err(AlreadyAuthenticated),
                    Err(AlreadyAuthenticated),
                    Err(AlreadyAuthenticated),
                ],
            ),
            (
                Command::Select(Mailbox::new("INBOX")),
                [Err(NeedsAuthentication), Ok(()), Ok(()), Ok(())],
            ),
            (
                Command::Close,
                [Err(NeedsAuthentication), Err(NeedsMailbox), Ok(()), Ok(())],
            ),
            (
                Command::Expunge(None),
                [
                    Err(NeedsAuthentication),
                    Err(NeedsMailbox),
                    Ok(()),
                    Err(Refusal::ReadOnly),
                ],
            ),
        ];
        for (command, expected) in table {
            let expected = expected.into_iter().chain([Err(LoggedOut)]);
            for (state, expected) in STATES.into_iter().zip(expected) {
                assert_eq!(
                    permit(state, &command),
                    expected,
                    "{command:?} in {state:?}"
                );
            }
        }
    }
}
