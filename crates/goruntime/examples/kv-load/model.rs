//! What one connection knows about its keys, which nobody else touches: the oracle of `--verify`.
//!
//! Replies come in the order of the requests, so the model follows the server reply by reply: each is compared with what the model says, and
//! then the request is applied to the model. Where the server may choose (a random member, the moment at which a key expires) every choice that
//! it may make is accepted, and the model follows.

use crate::ops::{Key, MEMBERS, Member, Op, ValueId, member_name, value_bytes};
use crate::wire::Reply;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

/// How far the server's clock may be from ours over the life of a key.
const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// When a request was sent and its reply had arrived: the server executed it in between.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Before the request was written.
    pub sent: Instant,
    /// After the reply was read.
    pub received: Instant,
}

/// A string and when it may, and must, be gone.
#[derive(Clone, Copy, Debug)]
struct Text {
    id: ValueId,
    gone: Option<(Instant, Instant)>,
}

/// Everything that the connection wrote and did not delete.
pub struct Model {
    value_size: usize,
    texts: Vec<Option<Text>>,
    counters: Vec<Option<i64>>,
    lists: Vec<VecDeque<ValueId>>,
    sets: Vec<BTreeSet<Member>>,
    hashes: Vec<BTreeMap<Member, ValueId>>,
    sorted: Vec<BTreeMap<Member, i32>>,
}

/// The reply that is due.
enum Due {
    Status(&'static str),
    Integer(i64),
    Bulk(Option<Vec<u8>>),
    /// An array of byte strings in this order.
    Items(Vec<Vec<u8>>),
    /// An array of groups of so many byte strings each, the groups in any order.
    Unordered(usize, Vec<Vec<u8>>),
}

impl Due {
    fn member(member: Option<Member>) -> Due {
        Due::Bulk(member.map(|member| member_name(member).into_bytes()))
    }

    fn is(&self, reply: &Reply<'_>) -> bool {
        match (self, reply) {
            (Due::Status(due), Reply::Status(status)) => due.as_bytes() == *status,
            (Due::Integer(due), Reply::Integer(integer)) => due == integer,
            (Due::Bulk(due), Reply::Bulk(bulk)) => due.as_deref() == *bulk,
            (Due::Items(due), reply) => items(reply).is_some_and(|items| items == *due),
            (Due::Unordered(size, due), reply) => items(reply).is_some_and(|items| {
                let mut groups: Vec<_> = items.chunks(*size).collect();
                let mut due: Vec<_> = due.chunks(*size).collect();
                groups.sort_unstable();
                due.sort_unstable();
                groups == due
            }),
            _ => false,
        }
    }
}

/// The byte strings of an array of nothing else.
fn items<'a>(reply: &Reply<'a>) -> Option<Vec<&'a [u8]>> {
    let Reply::Array(Some(elements)) = reply else {
        return None;
    };
    let bytes = |element: &Reply<'a>| match element {
        Reply::Bulk(bulk) => *bulk,
        _ => None,
    };
    elements.iter().map(bytes).collect()
}

impl Model {
    /// Of `keys` keys of each type, none of which exists.
    pub fn new(keys: Key, value_size: usize) -> Model {
        let keys = keys as usize;
        Model {
            value_size,
            texts: vec![None; keys],
            counters: vec![None; keys],
            lists: vec![VecDeque::new(); keys],
            sets: vec![BTreeSet::new(); keys],
            hashes: vec![BTreeMap::new(); keys],
            sorted: vec![BTreeMap::new(); keys],
        }
    }

    /// Requests that read everything back.
    pub fn read_all(&self) -> impl Iterator<Item = Op> + use<> {
        let keys = self.texts.len() as Key;
        (0..keys).flat_map(|key| {
            [
                Op::Get(key),
                Op::GetCounter(key),
                Op::ListRange(key, u32::MAX),
                Op::SetAll(key),
                Op::HashAll(key),
                Op::SortedRange(key, u32::MAX),
            ]
        })
    }

    /// Compares a reply with what is due, and applies the request.
    ///
    /// # Errors
    /// How they differ.
    pub fn check(&mut self, op: Op, reply: &Reply<'_>, times: Times) -> Result<(), String> {
        let due = self.apply(op, reply, times);
        if due.is(reply) {
            return Ok(());
        }
        Err(format!("{op:?}: due was {due}, came {}", Shown(reply)))
    }

    fn bytes(&self, id: ValueId) -> Vec<u8> {
        value_bytes(id, self.value_size)
    }

    /// Applies a request. Gives the reply that was due; if there are several, that one of them that came.
    fn apply(&mut self, op: Op, reply: &Reply<'_>, times: Times) -> Due {
        let at = |key: Key| key as usize;
        let truth = |truth: bool| Due::Integer(truth.into());
        match op {
            Op::Ping => Due::Status("PONG"),
            Op::Get(key) => {
                let absent = matches!(reply, Reply::Bulk(None));
                let text = self.live_text(key, absent, times);
                Due::Bulk(text.map(|text| self.bytes(text.id)))
            }
            Op::Set(key, id) => {
                self.texts[at(key)] = Some(Text { id, gone: None });
                Due::Status("OK")
            }
            Op::SetExpiring(key, id, life) => {
                let life = Duration::from_millis(life.into());
                let earliest = (times.sent + life)
                    .checked_sub(CLOCK_SLACK)
                    .unwrap_or(times.sent);
                let gone = Some((earliest, times.received + life + CLOCK_SLACK));
                self.texts[at(key)] = Some(Text { id, gone });
                Due::Status("OK")
            }
            Op::Del(key) => {
                let absent = matches!(reply, Reply::Integer(0));
                let there = self.live_text(key, absent, times).is_some();
                self.texts[at(key)] = None;
                truth(there)
            }
            Op::IncrBy(key, by) => {
                let sum = self.counters[at(key)].unwrap_or(0) + by;
                self.counters[at(key)] = Some(sum);
                Due::Integer(sum)
            }
            Op::GetCounter(key) => {
                Due::Bulk(self.counters[at(key)].map(|value| value.to_string().into_bytes()))
            }
            Op::ListPush { key, front, value } => {
                let list = &mut self.lists[at(key)];
                if front {
                    list.push_front(value)
                } else {
                    list.push_back(value)
                }
                Due::Integer(list.len() as i64)
            }
            Op::ListPop { key, front } => {
                let list = &mut self.lists[at(key)];
                let popped = if front {
                    list.pop_front()
                } else {
                    list.pop_back()
                };
                Due::Bulk(popped.map(|id| self.bytes(id)))
            }
            Op::ListRange(key, count) => {
                let items = self.lists[at(key)].iter().take(count as usize);
                Due::Items(items.map(|id| self.bytes(*id)).collect())
            }
            Op::SetAdd(key, member) => truth(self.sets[at(key)].insert(member)),
            Op::SetRemove(key, member) => truth(self.sets[at(key)].remove(&member)),
            Op::SetHas(key, member) => truth(self.sets[at(key)].contains(&member)),
            Op::SetPop(key) => {
                let set = &mut self.sets[at(key)];
                let came = (0..MEMBERS).find(|m| Due::member(Some(*m)).is(reply));
                match came {
                    Some(member) if set.remove(&member) => Due::member(came),
                    _ => Due::member(set.first().copied()),
                }
            }
            Op::SetAll(key) => {
                let members = self.sets[at(key)].iter();
                Due::Unordered(1, members.map(|m| member_name(*m).into_bytes()).collect())
            }
            Op::HashPut(key, member, id) => {
                truth(self.hashes[at(key)].insert(member, id).is_none())
            }
            Op::HashGet(key, member) => {
                Due::Bulk(self.hashes[at(key)].get(&member).map(|id| self.bytes(*id)))
            }
            Op::HashDelete(key, member) => truth(self.hashes[at(key)].remove(&member).is_some()),
            Op::HashAll(key) => {
                let pairs = self.hashes[at(key)].iter();
                let pairs =
                    pairs.flat_map(|(m, id)| [member_name(*m).into_bytes(), self.bytes(*id)]);
                Due::Unordered(2, pairs.collect())
            }
            Op::SortedAdd(key, member, score) => {
                truth(self.sorted[at(key)].insert(member, score).is_none())
            }
            Op::SortedRemove(key, member) => truth(self.sorted[at(key)].remove(&member).is_some()),
            Op::SortedScore(key, member) => {
                let score = self.sorted[at(key)].get(&member);
                Due::Bulk(score.map(|score| score.to_string().into_bytes()))
            }
            Op::SortedPop(key) => {
                let lowest = self.in_order(key).into_iter().next();
                if let Some((_, _, member)) = &lowest {
                    self.sorted[at(key)].remove(member);
                }
                Due::Items(lowest.into_iter().flat_map(pair).collect())
            }
            Op::SortedRange(key, count) => {
                let members = self.in_order(key).into_iter().take(count as usize);
                Due::Items(members.flat_map(pair).collect())
            }
        }
    }

    /// The string of a key. If it may or may not have expired, `absent` decides.
    fn live_text(&mut self, key: Key, absent: bool, times: Times) -> Option<Text> {
        let text = &mut self.texts[key as usize];
        if let Some((earliest, latest)) = text.and_then(|text| text.gone) {
            let must_be_gone = times.sent > latest;
            let may_be_gone = times.received > earliest;
            if must_be_gone || (may_be_gone && absent) {
                *text = None;
            }
        }
        *text
    }

    /// The members of a sorted set from the lowest: by score, then by name.
    fn in_order(&self, key: Key) -> Vec<(i32, String, Member)> {
        let members = self.sorted[key as usize].iter();
        let mut members: Vec<_> = members
            .map(|(m, score)| (*score, member_name(*m), *m))
            .collect();
        members.sort_unstable();
        members
    }
}

/// A member of a sorted set and its score, as in replies.
fn pair((score, name, _): (i32, String, Member)) -> [Vec<u8>; 2] {
    [name.into_bytes(), score.to_string().into_bytes()]
}

/// The most of a byte string that is shown.
const SHOWN: usize = 40;

/// A reply, short enough for a message.
struct Shown<'a>(&'a Reply<'a>);

fn text(bytes: &[u8]) -> String {
    let dots = if bytes.len() > SHOWN { "..." } else { "" };
    format!("{}{dots}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

fn texts<'a>(count: usize, texts: impl Iterator<Item = &'a [u8]>) -> String {
    let shown: Vec<String> = texts.take(4).map(text).collect();
    format!("{count} elements [{} ..]", shown.join(", "))
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reply::Status(status) => write!(f, "+{}", text(status)),
            Reply::Error(error) => write!(f, "-{}", text(error)),
            Reply::Integer(integer) => write!(f, "{integer}"),
            Reply::Bulk(None) | Reply::Array(None) => f.write_str("nothing"),
            Reply::Bulk(Some(bytes)) => f.write_str(&text(bytes)),
            reply @ Reply::Array(Some(elements)) => {
                let items = items(reply).unwrap_or_default();
                f.write_str(&texts(elements.len(), items.into_iter()))
            }
        }
    }
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Due::Status(status) => write!(f, "+{status}"),
            Due::Integer(integer) => write!(f, "{integer}"),
            Due::Bulk(None) => f.write_str("nothing"),
            Due::Bulk(Some(bytes)) => f.write_str(&text(bytes)),
            Due::Items(items) | Due::Unordered(_, items) => {
                f.write_str(&texts(items.len(), items.iter().map(Vec::as_slice)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Times {
        Times {
            sent: Instant::now(),
            received: Instant::now(),
        }
    }

    /// Checks a reply that is due, and that another is not accepted in its place.
    fn follow(model: &mut Model, op: Op, reply: &Reply<'_>) {
        let check = model.check(op, reply, now());
        assert_eq!(check, Ok(()));
    }

    #[test]
    fn follows_each_type() {
        let mut model = Model::new(2, 5);
        let value = value_bytes(ValueId(7), 5);
        let bulk = Reply::Bulk(Some(&value));
        follow(&mut model, Op::Get(0), &Reply::Bulk(None));
        follow(&mut model, Op::Set(0, ValueId(7)), &Reply::Status(b"OK"));
        follow(&mut model, Op::Get(0), &bulk);
        follow(&mut model, Op::Del(0), &Reply::Integer(1));
        follow(&mut model, Op::Del(0), &Reply::Integer(0));
        follow(&mut model, Op::IncrBy(1, -3), &Reply::Integer(-3));
        follow(&mut model, Op::GetCounter(1), &Reply::Bulk(Some(b"-3")));
        let push = Op::ListPush {
            key: 0,
            front: true,
            value: ValueId(7),
        };
        follow(&mut model, push, &Reply::Integer(1));
        follow(
            &mut model,
            Op::ListRange(0, 9),
            &Reply::Array(Some(vec![bulk.clone()])),
        );
        follow(
            &mut model,
            Op::ListPop {
                key: 0,
                front: false,
            },
            &bulk,
        );
        follow(
            &mut model,
            Op::HashPut(0, 1, ValueId(7)),
            &Reply::Integer(1),
        );
        let pair = vec![Reply::Bulk(Some(b"member:1")), bulk];
        follow(&mut model, Op::HashAll(0), &Reply::Array(Some(pair)));
        for (member, score) in [(3, 1), (20, 1), (5, 0)] {
            follow(
                &mut model,
                Op::SortedAdd(0, member, score),
                &Reply::Integer(1),
            );
        }
        let words = |words: &[&'static str]| {
            Reply::Array(Some(
                words
                    .iter()
                    .map(|w| Reply::Bulk(Some(w.as_bytes())))
                    .collect(),
            ))
        };
        follow(&mut model, Op::SortedPop(0), &words(&["member:5", "0"]));
        let rest = words(&["member:20", "1", "member:3", "1"]);
        follow(&mut model, Op::SortedRange(0, 10), &rest);
    }

    #[test]
    fn any_member_may_be_popped_but_only_a_member() {
        let mut model = Model::new(1, 5);
        let pop = Op::SetPop(0);
        for member in [1, 2, 3] {
            follow(&mut model, Op::SetAdd(0, member), &Reply::Integer(1));
        }
        follow(&mut model, pop, &Reply::Bulk(Some(b"member:2")));
        for wrong in [
            Reply::Bulk(Some(b"member:2")),
            Reply::Bulk(Some(b"x")),
            Reply::Bulk(None),
        ] {
            assert!(model.check(pop, &wrong, now()).is_err());
        }
        let left = vec![
            Reply::Bulk(Some(b"member:3")),
            Reply::Bulk(Some(b"member:1")),
        ];
        follow(&mut model, Op::SetAll(0), &Reply::Array(Some(left)));
    }

    #[test]
    fn what_differs_is_told() {
        let mut model = Model::new(1, 5);
        let error = model.check(Op::IncrBy(0, 5), &Reply::Integer(6), now());
        assert_eq!(error, Err("IncrBy(0, 5): due was 5, came 6".into()));
        let error = model.check(Op::Ping, &Reply::Error(b"ERR x"), now());
        assert_eq!(error, Err("Ping: due was +PONG, came -ERR x".into()));
    }

    #[test]
    fn keys_expire_in_their_time() {
        let start = Instant::now();
        let at = |millis| {
            let moment = start + Duration::from_millis(millis);
            Times {
                sent: moment,
                received: moment,
            }
        };
        let value = value_bytes(ValueId(1), 5);
        let (there, gone) = (Reply::Bulk(Some(&value)), Reply::Bulk(None));
        for (millis, reply, accepted) in [
            (100, &there, true),
            (100, &gone, false),
            (1000, &there, true),
            (1000, &gone, true),
            (2000, &there, false),
            (2000, &gone, true),
        ] {
            let mut model = Model::new(1, 5);
            let set = model.check(
                Op::SetExpiring(0, ValueId(1), 1000),
                &Reply::Status(b"OK"),
                at(0),
            );
            assert_eq!(set, Ok(()));
            let check = model.check(Op::Get(0), reply, at(millis));
            assert_eq!(check.is_ok(), accepted, "{millis} {check:?}");
        }
    }
}
