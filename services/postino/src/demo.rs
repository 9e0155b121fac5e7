//! What `dev` makes once: a domain with two accounts, and three commands to try them.

use std::path::Path;

use postino_client::AdminClient;
use postino_client::CallError;
use postino_config::AuthConfig;
use postino_proto::admin::v1::AddDomainRequest;
use postino_types::Secret;
use tonic::Code;

use crate::admin::{AdminError, account};
use crate::ports::Ports;

const DOMAIN: &str = "example.org";
const ACCOUNTS: [&str; 2] = ["alice@example.org", "bob@example.org"];
/// Where mail for the postmaster goes.
pub(crate) const POSTMASTER: &str = ACCOUNTS[0];
const PASSWORD: &str = "postino-dev";

/// Makes the domain and the accounts, unless a file in the data directory says that it was done
/// before: what the user removed since then stays away.
pub(crate) async fn make_once(
    data: &Path,
    admin: &AdminClient,
    auth: &AuthConfig,
) -> Result<(), AdminError> {
    let done = data.join("demo-accounts");
    if done.exists() {
        return Ok(());
    }
    // Parts that an interrupted start has made are there already.
    unless_there(
        admin
            .add_domain(AddDomainRequest {
                domain: DOMAIN.into(),
            })
            .await,
    )?;
    for address in ACCOUNTS {
        match account::add(admin, address, Secret::new(PASSWORD), auth).await {
            Err(AdminError::Call(error)) => unless_there(Err::<(), _>(error))?,
            other => other?,
        }
    }
    let text = ACCOUNTS.join("\n") + "\n";
    std::fs::write(done, text).map_err(|error| AdminError::Input(error.to_string()))
}

fn unless_there<T>(outcome: Result<T, CallError>) -> Result<(), CallError> {
    match outcome {
        Err(error) if error.code() == Some(Code::AlreadyExists) => Ok(()),
        other => other.map(drop),
    }
}

/// What `dev` prints when it is ready: the ports, and commands that work as they stand.
pub(crate) fn greeting(ports: &Ports) -> String {
    let mut text = String::from("Postino is ready.\n\n");
    for (name, address) in ports {
        text += &format!("  {name:<12} {address}\n");
    }
    let [alice, bob] = ACCOUNTS;
    text += &format!("\nAccounts {alice} and {bob}, password {PASSWORD}. To try:\n\n");
    for command in commands(ports) {
        text += &format!("  {command}\n");
    }
    text
}

/// Sends a letter, reads it by IMAP, reads it by POP3.
fn commands(ports: &Ports) -> Vec<String> {
    let [alice, bob] = ACCOUNTS;
    let mut commands = Vec::new();
    if let Some(smtp) = ports.get("smtp") {
        commands.push(format!(
            "printf 'From: {alice}\\r\\nTo: {bob}\\r\\nSubject: hello\\r\\n\\r\\nHello, Bob!\\r\\n' \
             | curl -sS --mail-from {alice} --mail-rcpt {bob} -T - smtp://{smtp}/postino.test"
        ));
    }
    if let Some(imap) = ports.get("imap") {
        let url = format!("'imap://{imap}/INBOX;MAILINDEX=1'");
        commands.push(format!("curl -sS -u {bob}:{PASSWORD} {url}"));
    }
    if let Some(pop3) = ports.get("pop3") {
        commands.push(format!("curl -sS -u {bob}:{PASSWORD} pop3://{pop3}/1"));
    }
    commands
}
