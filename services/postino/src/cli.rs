//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use postino_telemetry::Role;

use crate::admin::archive::Format;

/// Where `dev` keeps its data, and where the admin commands look for a running system.
pub(crate) const DEFAULT_DATA: &str = "postino-data";

/// A mail platform: SMTP, queue, IMAP and POP3 on a replicated store.
#[derive(Debug, Parser)]
#[command(name = "postino", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process on loopback, with two demo accounts.
    Dev(RunArgs),
    /// Run some roles of a system.
    Serve(ServeArgs),
    /// Show or check settings.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// The domains whose mail is taken in.
    Domain {
        #[command(subcommand)]
        action: DomainAction,
        #[command(flatten)]
        target: Target,
    },
    /// Accounts: an address, a password, mailboxes.
    Account {
        #[command(subcommand)]
        action: AccountAction,
        #[command(flatten)]
        target: Target,
    },
    /// Addresses that lead to other addresses.
    Alias {
        #[command(subcommand)]
        action: AliasAction,
        #[command(flatten)]
        target: Target,
    },
    /// Letters that are accepted and not yet delivered.
    Queue {
        #[command(subcommand)]
        action: QueueAction,
        #[command(flatten)]
        target: Target,
    },
    /// Write an account's mail to files that other programs read.
    Export {
        address: String,
        /// A directory that is empty, or is made.
        directory: PathBuf,
        /// How to write it.
        #[arg(long, value_enum, default_value_t = Format::Maildir)]
        format: Format,
        #[command(flatten)]
        target: Target,
    },
    /// File mail from a Maildir, an mbox file, or a tree of either, into an account's mailboxes.
    /// Repeating it within the hour goes on where it broke off.
    Import {
        address: String,
        path: PathBuf,
        /// Where the top folder's messages, or those of a single file, go.
        #[arg(long, value_name = "NAME", default_value = "INBOX")]
        mailbox: String,
        #[command(flatten)]
        target: Target,
    },
    /// All accounts, mail and letters under way, as files of which a cluster can be made again.
    Backup {
        #[command(subcommand)]
        action: BackupAction,
        #[command(flatten)]
        target: Target,
    },
    /// Make a new cluster of a backup, on a store that belongs to none. Letters for other servers are
    /// held until "queue release".
    Restore {
        /// The directory of the backup.
        directory: PathBuf,
        /// More nodes of the new cluster: their gRPC endpoints, http://HOST:PORT. They can also join
        /// later.
        nodes: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// The nodes of the store.
    Cluster {
        #[command(subcommand)]
        action: ClusterAction,
        #[command(flatten)]
        target: Target,
    },
}

/// Which running system a command talks to.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The data directory of a process that serves the store [default: postino-data].
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "endpoint")]
    pub(crate) data: Option<PathBuf>,
    /// The gRPC endpoint of a store, http://HOST:PORT.
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) endpoint: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Data directory [default: postino-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// SMTP for mail from other servers.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) smtp: Option<SocketAddr>,
    /// SMTP for users, with STARTTLS.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) submission: Option<SocketAddr>,
    /// SMTP for users, with TLS from the start.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) submissions: Option<SocketAddr>,
    /// IMAP with STARTTLS.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) imap: Option<SocketAddr>,
    /// IMAP with TLS from the start.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) imaps: Option<SocketAddr>,
    /// POP3 with STLS.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) pop3: Option<SocketAddr>,
    /// POP3 with TLS from the start.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) pop3s: Option<SocketAddr>,
    /// HTTP: /healthz, /readyz, /metrics.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<SocketAddr>,
    /// gRPC: admin commands, and the other processes of the system.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<SocketAddr>,
    /// This host's name in greetings and trace headers.
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// The name server to ask, instead of the system's.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) dns: Option<SocketAddr>,
    /// Where a domain's mail goes, whatever the DNS says; can be repeated.
    #[arg(long, value_name = "DOMAIN=HOST:PORT")]
    pub(crate) route: Vec<String>,
    /// Any setting, as in the configuration file; can be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// What this process does: store, routing, queue, ingress, access.
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',', required = true)]
    pub(crate) roles: Vec<Role>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print every setting with its default.
    Default,
    /// Check a configuration; exit 1 if it is refused.
    Check {
        /// Configuration file (TOML).
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Any setting; can be repeated.
        #[arg(long, value_name = "SECTION.KEY=VALUE")]
        set: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DomainAction {
    /// Take mail for a domain.
    Add { domain: String },
    /// List the domains.
    List,
    /// Take no more mail for a domain; refused while it has accounts or aliases.
    Remove { domain: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountAction {
    /// Add an account; its password is read from standard input.
    Add {
        address: String,
        /// Read the password from standard input, up to the end of the line.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List the accounts.
    List {
        /// Only those of this domain.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Remove an account with all its mail.
    Remove { address: String },
    /// Set a new password.
    Passwd {
        address: String,
        /// Read the password from standard input, up to the end of the line.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Add accounts from a CSV file with lines of address,password.
    Import { file: PathBuf },
    /// Move an account with its mail to another shard; it stays in use.
    Move {
        address: String,
        /// The shard to move it to.
        #[arg(long, required_unless_present = "call_off")]
        to: Option<u32>,
        /// Wait until it is there.
        #[arg(long)]
        wait: bool,
        /// Let it stay where it is, though it moves; refused once it is there.
        #[arg(long, conflicts_with_all = ["to", "wait"])]
        call_off: bool,
    },
    /// List the accounts that move, and how far they are.
    Moves {
        /// List them again every second.
        #[arg(long)]
        watch: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AliasAction {
    /// Let an address lead to others; "@DOMAIN" is the catch-all of a domain.
    Add {
        address: String,
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// List the aliases.
    List,
    /// Remove an alias.
    Remove { address: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueAction {
    /// List the letters.
    List,
    /// Show one letter with the state of each recipient.
    Show { queue_id: String },
    /// Try letters now instead of when they are due: one, or all.
    Retry { queue_id: Option<String> },
    /// After a restore: let letters for other servers leave.
    Release,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupAction {
    /// Take a backup of a running cluster.
    Create {
        /// A directory that is empty, or is made.
        directory: PathBuf,
        /// An earlier backup of the same cluster: only bodies that came since are read, and its files
        /// are linked, or copied where that cannot be. It may be deleted afterwards.
        #[arg(long, value_name = "DIRECTORY")]
        incremental: Option<PathBuf>,
    },
    /// Read a backup back: whether nothing is missing and nothing has changed. Needs no running
    /// system.
    Verify {
        /// The directory of the backup.
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterAction {
    /// Show the nodes, the shards with their replicas, and the moves under way.
    Status {
        /// Show it again every second, until interrupted.
        #[arg(long)]
        watch: bool,
    },
    /// Make a cluster of the node that --endpoint or --data names, and take other nodes in.
    /// Repeating it takes in those that are missing.
    Init {
        /// The other nodes' gRPC endpoints, http://HOST:PORT, as every node can reach them.
        nodes: Vec<String>,
        /// Shards that hold mail, fixed for the life of the cluster [default: the node's setting].
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        shards: u32,
    },
    /// Let the empty node that --endpoint or --data names join a running cluster. Replicas move to
    /// it by themselves.
    Join {
        /// The gRPC endpoint of any node of the cluster, http://HOST:PORT.
        cluster: String,
    },
    /// Move all replicas off a node; "status --watch" shows how far that is.
    Drain {
        /// The number of the node.
        node: u64,
        /// Call it off: the node keeps what it has.
        #[arg(long)]
        undo: bool,
        /// Also if fewer nodes remain than a shard should have replicas.
        #[arg(long)]
        force: bool,
    },
    /// Forget a node that holds no replica any more. Its process can be stopped then.
    Remove {
        /// The number of the node.
        node: u64,
    },
    /// Move one replica of a shard from a node to another.
    Move {
        /// The number of the shard.
        shard: u32,
        /// The number of the node that has it; 0: the shard gets one more replica.
        from: u64,
        /// The number of the node that gets it; 0: the shard gets one less.
        to: u64,
    },
    /// Even out replicas and leads over nodes and zones.
    Rebalance {
        /// Wait until nothing is left to do.
        #[arg(long)]
        wait: bool,
    },
    /// Compare the replicas of each shard by checksums; exit 1 unless all agree.
    Verify {
        /// Only this shard.
        #[arg(long, value_name = "NUMBER")]
        shard: Option<u32>,
        /// Seconds that computing the checksums of a shard may take.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        patience: u64,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_target_may_stand_at_the_end() {
        let cli = Cli::try_parse_from(["postino", "domain", "add", "a.test", "--data", "d"]);
        let Ok(Cli {
            command: Command::Domain { target, .. },
        }) = cli
        else {
            panic!("{cli:?}")
        };
        assert_eq!(target.data, Some("d".into()));
    }

    #[test]
    fn roles_are_a_list() {
        let cli = Cli::try_parse_from(["postino", "serve", "--roles", "store,queue"]);
        let Ok(Cli {
            command: Command::Serve(serve),
        }) = cli
        else {
            panic!("{cli:?}")
        };
        assert_eq!(serve.roles, [Role::Store, Role::Queue]);
        assert!(Cli::try_parse_from(["postino", "serve", "--roles", "cook"]).is_err());
    }
}
