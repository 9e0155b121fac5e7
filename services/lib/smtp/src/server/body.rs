//! From `DATA` to the reply to its final dot.

use postino_types::Reply;

use super::action::{Action, HandOver, Verdict};
use super::replies;
use super::session::{Counts, Session, State};
use crate::{DataEvent, DataReceiver};

/// A letter that comes in.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) receiver: DataReceiver,
    /// Set by the driver: the letter is read to its end, and then refused with this.
    refusal: Option<Reply>,
}

impl Session {
    pub(super) fn on_open(&mut self, verdict: Verdict) {
        if !matches!(self.state, State::Opening) {
            return;
        }
        match verdict {
            Verdict::Accept => {
                self.state = State::Body(Body {
                    receiver: DataReceiver::new(self.settings.limits.data),
                    refusal: None,
                });
                self.reply(replies::send_data());
            }
            Verdict::Refuse(reply) => {
                self.state = State::Commands;
                self.reset();
                self.refuse(reply);
            }
        }
    }

    pub(super) fn on_refuse_body(&mut self, reply: Reply) {
        if let State::Body(body) = &mut self.state {
            body.refusal.get_or_insert(reply);
        }
    }

    /// False if more input is needed.
    pub(super) fn on_data(&mut self, event: DataEvent) -> bool {
        let limits = self.settings.limits;
        let State::Body(body) = &mut self.state else {
            return false;
        };
        match event {
            DataEvent::Chunk(_) if body.refusal.is_some() => {}
            DataEvent::Chunk(chunk) => self.actions.push_back(Action::BodyChunk(chunk)),
            DataEvent::Fault(_) if body.refusal.is_some() => {}
            DataEvent::Fault(fault) => self.actions.push_back(Action::BodyRefused(fault)),
            DataEvent::Pending => {
                if body.receiver.size() > limits.data.size.saturating_add(limits.discard) {
                    self.close_with(replies::too_much_discarded(&self.settings.hostname));
                    return true;
                }
                return false;
            }
            DataEvent::End(result) => {
                let refusal = body.refusal.take();
                self.state = State::Commands;
                match (refusal, result) {
                    (Some(reply), _) => self.letter_refused(reply),
                    (None, Err(fault)) => self.letter_refused(replies::bad_letter(fault)),
                    (None, Ok(summary)) => {
                        self.state = State::HandOver;
                        self.actions.push_back(Action::BodyEnd(summary));
                    }
                }
            }
        }
        true
    }

    pub(super) fn on_hand_over(&mut self, outcome: HandOver) {
        if !matches!(self.state, State::HandOver) {
            return;
        }
        self.state = State::Commands;
        match outcome {
            HandOver::Accepted(id) => {
                self.transaction = None;
                self.counts = Counts {
                    failed_logins: self.counts.failed_logins,
                    ..Counts::default()
                };
                self.reply(replies::queued(id));
            }
            HandOver::Refused(reply) => self.letter_refused(reply),
        }
    }

    fn letter_refused(&mut self, reply: Reply) {
        self.reset();
        self.error(reply);
    }
}
