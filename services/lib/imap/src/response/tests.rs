//! Known answers of all responses.

use postino_types::{Flag, FlagSet, ModSeq, SpecialUse, Uid, UidValidity};

use super::*;
use crate::Tag;
use crate::command::{FetchItem, ListKind, Partial, Peek, Section, SectionText, StatusItem};
use crate::date::DateTime;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("the test writes UTF-8")
}

fn uid(n: u32) -> Uid {
    Uid::new(n).expect("not zero")
}

fn validity(n: u32) -> UidValidity {
    UidValidity::new(n).expect("not zero")
}

#[test]
fn status_responses() {
    let tag = Tag::new("a1").expect("a tag");
    assert_eq!(
        written(|o| put_tagged(
            o,
            &tag,
            Condition::Ok,
            Some(&ResponseCode::ReadWrite),
            "done"
        )),
        "a1 OK [READ-WRITE] done\r\n"
    );
    assert_eq!(
        written(|o| put_untagged(o, Condition::Bad, None, "no\r\nway")),
        "* BAD no??way\r\n"
    );
    assert_eq!(written(|o| put_bye(o, None, "bye")), "* BYE bye\r\n");
    assert_eq!(written(|o| put_continuation(o, "")), "+ \r\n");
    assert_eq!(
        written(|o| put_greeting(o, vec!["IMAP4rev1", "ID"], "hi")),
        "* OK [CAPABILITY IMAP4rev1 ID] hi\r\n"
    );
}

#[test]
fn response_codes() {
    let sources: UidSet = [304, 319, 320].map(uid).into_iter().collect();
    let mut targets = UidSet::default();
    targets.push_range(uid(3956), uid(3958));
    let flags: FlagSet = [Flag::Seen, Flag::Draft].into();
    for (code, text) in [
        (
            ResponseCode::CopyUid(validity(38505), sources, targets),
            "COPYUID 38505 304,319:320 3956:3958",
        ),
        (
            ResponseCode::AppendUid(validity(38505), uid(3955)),
            "APPENDUID 38505 3955",
        ),
        (
            ResponseCode::PermanentFlags {
                flags,
                new_keywords: true,
            },
            "PERMANENTFLAGS (\\Seen \\Draft \\*)",
        ),
        (ResponseCode::UidNext(uid(7)), "UIDNEXT 7"),
        (ResponseCode::Unseen(3), "UNSEEN 3"),
        (ResponseCode::AuthenticationFailed, "AUTHENTICATIONFAILED"),
    ] {
        assert_eq!(code.to_string(), text);
    }
}

#[test]
fn mailbox_data() {
    assert_eq!(
        written(|o| put_list(
            o,
            ListKind::List,
            &[
                ListAttribute::HasNoChildren,
                ListAttribute::SpecialUse(SpecialUse::Drafts)
            ],
            "Entwürfe"
        )),
        "* LIST (\\HasNoChildren \\Drafts) \"/\" Entw&APw-rfe\r\n"
    );
    assert_eq!(
        written(|o| put_list(o, ListKind::List, &[ListAttribute::NoSelect], "")),
        "* LIST (\\Noselect) \"/\" \"\"\r\n"
    );
    assert_eq!(
        written(|o| put_mailbox_status(
            o,
            "a b",
            &[(StatusItem::Messages, 231), (StatusItem::UidNext, 44292)]
        )),
        "* STATUS \"a b\" (MESSAGES 231 UIDNEXT 44292)\r\n"
    );
    assert_eq!(
        written(|o| put_search(o, [2, 84, 882])),
        "* SEARCH 2 84 882\r\n"
    );
    assert_eq!(written(|o| put_search(o, [])), "* SEARCH\r\n");
    assert_eq!(
        written(put_namespace),
        "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n"
    );
    assert_eq!(
        written(|o| put_id(o, &[("name", "Postino")])),
        "* ID (\"name\" \"Postino\")\r\n"
    );
    assert_eq!(written(|o| put_id(o, &[])), "* ID NIL\r\n");
    assert_eq!(written(|o| put_enabled(o, &[])), "* ENABLED\r\n");
    assert_eq!(
        written(|o| put_flags(o, &[Flag::Seen].into())),
        "* FLAGS (\\Seen)\r\n"
    );
    assert_eq!(
        written(|o| {
            put_exists(o, 18);
            put_recent(o, 2);
            put_expunge(o, 44);
        }),
        "* 18 EXISTS\r\n* 2 RECENT\r\n* 44 EXPUNGE\r\n"
    );
}

#[test]
fn a_fetch_response_with_a_streamed_literal() {
    let item = FetchItem::BodySection {
        section: Section {
            part: vec![3.try_into().expect("not zero")],
            text: Some(SectionText::HeaderFields(vec!["Date".into()])),
        },
        peek: Peek::Peek,
        partial: Some(Partial {
            offset: 7,
            length: 100.try_into().expect("not zero"),
        }),
    };
    let text = written(|out| {
        let mut fetch = FetchWriter::start(out, 12);
        fetch.flags(out, &[Flag::Seen].into(), Recent::Yes);
        fetch.uid(out, uid(4));
        fetch.mod_seq(out, ModSeq::new(9).expect("not zero"));
        fetch.internal_date(out, DateTime::from_unix(837_596_665));
        fetch.size(out, 4286);
        fetch.wire(out, &FetchItem::Envelope, b"(NIL)");
        fetch.literal(out, &item, 3);
        out.extend_from_slice(b"abc");
        fetch.nil(out, &FetchItem::Rfc822Text);
        fetch.finish(out);
    });
    assert_eq!(
        text,
        "* 12 FETCH (FLAGS (\\Seen \\Recent) UID 4 MODSEQ (9) \
         INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" RFC822.SIZE 4286 ENVELOPE (NIL) \
         BODY[3.HEADER.FIELDS (Date)]<7> {3}\r\nabc RFC822.TEXT NIL)\r\n"
    );
}
