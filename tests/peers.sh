#!/usr/bin/env bash
# The peers of the benchmark: Debian's Postfix (SMTP) with Dovecot (LMTP, IMAP) in a directory of
# their own, on loopback, with users u0@peer.test … and the password "pw".
# usage: peers.sh start DIR SMTP_PORT IMAP_PORT LMTP_PORT | stop DIR | pids DIR      (as root)
set -euo pipefail
verb=${1:-} dir=${2:-}
[ -n "$dir" ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
postfix() { env MAIL_CONFIG="$dir/postfix" /usr/sbin/postfix -c "$dir/postfix" "$1" 2>/dev/null; }

configure_postfix() {
    local source=/etc/postfix/master.cf.proto
    [ -f "$source" ] || source=/usr/share/postfix/master.cf.dist
    # Our own port, and no chroot for any daemon.
    awk -v port="$1" '/^smtp +inet /{print "127.0.0.1:" port " inet n - n - 200 smtpd"; next}
        /^[a-z0-9]/{$5="n"} {print}' "$source" >"$dir/postfix/master.cf"
    cat >"$dir/postfix/main.cf" <<CONF
compatibility_level = 3.7
queue_directory = $dir/spool
data_directory = $dir/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
myhostname = peer.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = peer.test
virtual_transport = lmtp:inet:127.0.0.1:$2
lmtp_destination_concurrency_limit = 20
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_relay_restrictions = permit_mynetworks,reject
default_process_limit = 200
maillog_file = $dir/postfix.log
maillog_file_prefixes = $dir
alias_maps =
alternate_config_directories = $dir/postfix
CONF
}

configure_dovecot() {
    cat >"$dir/dovecot/dovecot.conf" <<CONF
base_dir = $dir/dovecot/run
state_dir = $dir/dovecot/state
instance_name = postino-peer
log_path = $dir/dovecot/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = mdbox:$dir/mail/%n/mdbox
mail_fsync = optimized
default_vsz_limit = 0
auth_username_format = %Ln
passdb {
  driver = static
  args = password=pw
}
userdb {
  driver = static
  args = uid=mail gid=mail home=$dir/mail/%n
}
namespace inbox {
  inbox = yes
}
service imap-login {
  inet_listener imap {
    port = $1
  }
  inet_listener imaps {
    port = 0
  }
  service_count = 0
  client_limit = 2000
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = $2
  }
}
service imap {
  process_limit = 1024
}
CONF
}

start() {
    mkdir -p "$dir"/{postfix,spool,data,dovecot/run,dovecot/state,mail}
    chmod 755 "$dir"
    chown postfix "$dir/data"
    chown mail "$dir/mail"
    configure_postfix "$1" "$3"
    configure_dovecot "$2" "$3"
    /usr/sbin/dovecot -c "$dir/dovecot/dovecot.conf"
    postfix start
}

case $verb in
    start) start "$3" "$4" "$5" ;;
    stop)
        postfix stop || true
        [ ! -f "$dir/dovecot/run/master.pid" ] || kill "$(cat "$dir/dovecot/run/master.pid")"
        ;;
    pids) echo "$(($(cat "$dir/spool/pid/master.pid")))" "$(cat "$dir/dovecot/run/master.pid")" ;;
    *) exit 2 ;;
esac
