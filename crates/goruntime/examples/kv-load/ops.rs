//! What can be asked of the server, and how a connection chooses.

use crate::random::{Random, mix};
use crate::wire;
use std::fmt::Write;

/// Members of a set or a sorted set, and fields of a hash, are below this.
pub const MEMBERS: u32 = 64;

/// Items of a list that one request reads.
pub const WINDOW: u32 = 10;

/// The estimate of a reply of which there is none: such a request ends its batch.
const UNKNOWN_REPLY: usize = 1 << 20;

/// The longest and the shortest life that [`Op::SetExpiring`] gives, in milliseconds.
const LIFE: std::ops::Range<u32> = 20..400;

/// A family of requests, by the names of `--mix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `PING`.
    Ping,
    /// `GET`.
    Get,
    /// `SET`.
    Set,
    /// `INCRBY`.
    Incr,
    /// Pushing, popping and reading lists.
    List,
    /// Adding to, removing from and reading sets.
    SetType,
    /// Setting, deleting and reading fields of hashes.
    Hash,
    /// Adding to, removing from and reading sorted sets.
    SortedSet,
    /// `SET PX` with a short life.
    Expire,
    /// `DEL`.
    Del,
}

impl Group {
    /// All of them.
    pub const ALL: [Group; 10] = [
        Group::Ping,
        Group::Get,
        Group::Set,
        Group::Incr,
        Group::List,
        Group::SetType,
        Group::Hash,
        Group::SortedSet,
        Group::Expire,
        Group::Del,
    ];

    /// The group of that name.
    pub fn named(name: &str) -> Option<Group> {
        Group::ALL.into_iter().find(|group| group.name() == name)
    }

    /// How often it comes compared to the others unless the command line says.
    pub fn default_weight(self) -> u32 {
        match self {
            Group::Get => 8,
            Group::Set => 4,
            Group::List | Group::SetType | Group::Hash | Group::SortedSet => 2,
            Group::Ping | Group::Incr | Group::Expire | Group::Del => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Group::Ping => "ping",
            Group::Get => "get",
            Group::Set => "set",
            Group::Incr => "incr",
            Group::List => "list",
            Group::SetType => "set-type",
            Group::Hash => "hash",
            Group::SortedSet => "zset",
            Group::Expire => "expire",
            Group::Del => "del",
        }
    }
}

/// Names a value: everything about its bytes follows from this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueId(pub u64);

/// A key, by its number among those of its type.
pub type Key = u32;

/// A member of a set or a field of a hash, by its number.
pub type Member = u32;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// `PING`.
    Ping,
    /// `GET` of a string.
    Get(Key),
    /// `SET` of a string.
    Set(Key, ValueId),
    /// `SET` of a string that lives so many milliseconds.
    SetExpiring(Key, ValueId, u32),
    /// `DEL` of a string.
    Del(Key),
    /// `INCRBY` of a counter.
    IncrBy(Key, i64),
    /// `GET` of a counter.
    GetCounter(Key),
    /// `LPUSH` or `RPUSH`.
    ListPush {
        /// The list.
        key: Key,
        /// At the front.
        front: bool,
        /// The item.
        value: ValueId,
    },
    /// `LPOP` or `RPOP`.
    ListPop {
        /// The list.
        key: Key,
        /// From the front.
        front: bool,
    },
    /// `LRANGE` of the first so many items.
    ListRange(Key, u32),
    /// `SADD`.
    SetAdd(Key, Member),
    /// `SREM`.
    SetRemove(Key, Member),
    /// `SISMEMBER`.
    SetHas(Key, Member),
    /// `SPOP`.
    SetPop(Key),
    /// `SMEMBERS`.
    SetAll(Key),
    /// `HSET`.
    HashPut(Key, Member, ValueId),
    /// `HGET`.
    HashGet(Key, Member),
    /// `HDEL`.
    HashDelete(Key, Member),
    /// `HGETALL`.
    HashAll(Key),
    /// `ZADD` with this score.
    SortedAdd(Key, Member, i32),
    /// `ZREM`.
    SortedRemove(Key, Member),
    /// `ZSCORE`.
    SortedScore(Key, Member),
    /// `ZPOPMIN`.
    SortedPop(Key),
    /// `ZRANGE` of the lowest so many members, with scores.
    SortedRange(Key, u32),
}

impl Op {
    /// About how many bytes the reply takes.
    pub fn reply_estimate(self, value_size: usize) -> usize {
        let element = value_size + 16;
        match self {
            Op::ListRange(_, u32::MAX) => UNKNOWN_REPLY,
            Op::ListRange(_, count) => count as usize * element,
            Op::HashAll(_) => MEMBERS as usize * (element + 32),
            Op::SetAll(_) | Op::SortedRange(..) => MEMBERS as usize * 32,
            _ => element,
        }
    }
}

/// Chooses requests.
pub struct Chooser {
    random: Random,
    groups: Vec<Group>,
    keys: u32,
}

impl Chooser {
    /// Requests of the groups of `mix` for `keys` keys of each type.
    pub fn new(random: Random, mix: &[(Group, u32)], keys: u32) -> Chooser {
        let times = |(group, weight): &(Group, u32)| vec![*group; *weight as usize];
        Chooser {
            random,
            groups: mix.iter().flat_map(times).collect(),
            keys,
        }
    }

    /// The next request.
    pub fn next(&mut self) -> Op {
        let random = &mut self.random;
        let group = self.groups[random.below(self.groups.len() as u32) as usize];
        let key = random.below(self.keys);
        let member = random.below(MEMBERS);
        let value = ValueId(random.bits());
        let (dice, front) = (random.below(8), random.below(2) == 0);
        match (group, dice) {
            (Group::Ping, _) => Op::Ping,
            (Group::Get, _) => Op::Get(key),
            (Group::Set, _) => Op::Set(key, value),
            (Group::Expire, _) => {
                Op::SetExpiring(key, value, LIFE.start + random.below(LIFE.end - LIFE.start))
            }
            (Group::Del, _) => Op::Del(key),
            (Group::Incr, 0) => Op::GetCounter(key),
            (Group::Incr, _) => Op::IncrBy(key, i64::from(member) - 20),
            (Group::List, 0..3) => Op::ListPush { key, front, value },
            (Group::List, 3..6) => Op::ListPop { key, front },
            (Group::List, _) => Op::ListRange(key, WINDOW),
            (Group::SetType, 0..3) => Op::SetAdd(key, member),
            (Group::SetType, 3) => Op::SetRemove(key, member),
            (Group::SetType, 4) => Op::SetPop(key),
            (Group::SetType, 5) => Op::SetAll(key),
            (Group::SetType, _) => Op::SetHas(key, member),
            (Group::Hash, 0..3) => Op::HashPut(key, member, value),
            (Group::Hash, 3) => Op::HashDelete(key, member),
            (Group::Hash, 4) => Op::HashAll(key),
            (Group::Hash, _) => Op::HashGet(key, member),
            (Group::SortedSet, 0..3) => Op::SortedAdd(key, member, random.below(20) as i32 - 10),
            (Group::SortedSet, 3) => Op::SortedRemove(key, member),
            (Group::SortedSet, 4) => Op::SortedPop(key),
            (Group::SortedSet, 5) => Op::SortedScore(key, member),
            (Group::SortedSet, _) => Op::SortedRange(key, WINDOW),
        }
    }
}

/// The bytes of a value.
pub fn value_bytes(id: ValueId, size: usize) -> Vec<u8> {
    // Each byte is one of the letters a to p.
    const LOW_HALVES: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    const LETTERS: u64 = u64::from_ne_bytes([b'a'; 8]);
    let mut bytes = Vec::with_capacity(size.next_multiple_of(8));
    for word in 0..size.div_ceil(8) as u64 {
        let letters = (mix(id.0.wrapping_add(word)) & LOW_HALVES) + LETTERS;
        bytes.extend_from_slice(&letters.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// The name of a member of a set or of a field of a hash.
pub fn member_name(member: Member) -> String {
    format!("member:{member}")
}

/// Writes requests, with the keys of one connection.
pub struct Encoder {
    prefix: String,
    value_size: usize,
    key: String,
}

impl Encoder {
    /// Keys start with `prefix`; values have `value_size` bytes.
    pub fn new(prefix: String, value_size: usize) -> Encoder {
        Encoder {
            prefix,
            value_size,
            key: String::new(),
        }
    }

    /// Adds a request to a buffer.
    pub fn encode(&mut self, op: Op, to: &mut Vec<u8>) {
        let (kind, key) = place(op);
        self.key.clear();
        // Writing to a string does not fail.
        let _ = write!(self.key, "{}{kind}:{key}", self.prefix);
        let key = self.key.as_bytes();
        let value = |id| value_bytes(id, self.value_size);
        let mut put = |words: &[&[u8]]| wire::request(to, words);
        match op {
            Op::Ping => put(&[b"PING"]),
            Op::Get(_) | Op::GetCounter(_) => put(&[b"GET", key]),
            Op::Set(_, id) => put(&[b"SET", key, &value(id)]),
            Op::SetExpiring(_, id, life) => {
                put(&[b"SET", key, &value(id), b"PX", life.to_string().as_bytes()]);
            }
            Op::Del(_) => put(&[b"DEL", key]),
            Op::IncrBy(_, by) => put(&[b"INCRBY", key, by.to_string().as_bytes()]),
            Op::ListPush {
                front, value: id, ..
            } => {
                put(&[if front { b"LPUSH" } else { b"RPUSH" }, key, &value(id)]);
            }
            Op::ListPop { front, .. } => put(&[if front { b"LPOP" } else { b"RPOP" }, key]),
            Op::ListRange(_, count) => put(&[b"LRANGE", key, b"0", last_of(count).as_bytes()]),
            Op::SetAdd(_, member) => put(&[b"SADD", key, member_name(member).as_bytes()]),
            Op::SetRemove(_, member) => put(&[b"SREM", key, member_name(member).as_bytes()]),
            Op::SetHas(_, member) => put(&[b"SISMEMBER", key, member_name(member).as_bytes()]),
            Op::SetPop(_) => put(&[b"SPOP", key]),
            Op::SetAll(_) => put(&[b"SMEMBERS", key]),
            Op::HashPut(_, member, id) => {
                put(&[b"HSET", key, member_name(member).as_bytes(), &value(id)]);
            }
            Op::HashGet(_, member) => put(&[b"HGET", key, member_name(member).as_bytes()]),
            Op::HashDelete(_, member) => put(&[b"HDEL", key, member_name(member).as_bytes()]),
            Op::HashAll(_) => put(&[b"HGETALL", key]),
            Op::SortedAdd(_, member, score) => {
                put(&[
                    b"ZADD",
                    key,
                    score.to_string().as_bytes(),
                    member_name(member).as_bytes(),
                ]);
            }
            Op::SortedRemove(_, member) => put(&[b"ZREM", key, member_name(member).as_bytes()]),
            Op::SortedScore(_, member) => put(&[b"ZSCORE", key, member_name(member).as_bytes()]),
            Op::SortedPop(_) => put(&[b"ZPOPMIN", key]),
            Op::SortedRange(_, count) => {
                put(&[
                    b"ZRANGE",
                    key,
                    b"0",
                    last_of(count).as_bytes(),
                    b"WITHSCORES",
                ]);
            }
        }
    }

    /// Adds a request that deletes key `key` of every type.
    pub fn encode_reset(&mut self, key: Key, to: &mut Vec<u8>) {
        let names =
            ["s", "c", "l", "m", "h", "z"].map(|kind| format!("{}{kind}:{key}", self.prefix));
        let mut words: Vec<&[u8]> = vec![b"DEL"];
        words.extend(names.iter().map(String::as_bytes));
        wire::request(to, &words);
    }
}

/// The index of the last of the first `count`; of all, for `u32::MAX`.
fn last_of(count: u32) -> String {
    match count {
        u32::MAX => "-1".into(),
        count => (i64::from(count) - 1).to_string(),
    }
}

/// The letter of the type of key that a request is about, and the key.
fn place(op: Op) -> (char, Key) {
    match op {
        Op::Ping => ('s', 0),
        Op::Get(key) | Op::Set(key, _) | Op::SetExpiring(key, ..) | Op::Del(key) => ('s', key),
        Op::IncrBy(key, _) | Op::GetCounter(key) => ('c', key),
        Op::ListPush { key, .. } | Op::ListPop { key, .. } | Op::ListRange(key, _) => ('l', key),
        Op::SetAdd(key, _)
        | Op::SetRemove(key, _)
        | Op::SetHas(key, _)
        | Op::SetPop(key)
        | Op::SetAll(key) => ('m', key),
        Op::HashPut(key, ..) | Op::HashGet(key, _) | Op::HashDelete(key, _) | Op::HashAll(key) => {
            ('h', key)
        }
        Op::SortedAdd(key, ..)
        | Op::SortedRemove(key, _)
        | Op::SortedScore(key, _)
        | Op::SortedPop(key)
        | Op::SortedRange(key, _) => ('z', key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_from_their_number() {
        assert_eq!(value_bytes(ValueId(1), 100).len(), 100);
        assert_eq!(
            value_bytes(ValueId(1), 40),
            value_bytes(ValueId(1), 100)[..40]
        );
        assert_ne!(value_bytes(ValueId(1), 16), value_bytes(ValueId(2), 16));
        assert!(value_bytes(ValueId(1), 0).is_empty());
    }

    #[test]
    fn a_mix_chooses_only_what_is_in_it() {
        let mut chooser = Chooser::new(Random::new(1), &[(Group::Get, 1), (Group::Del, 3)], 7);
        let ops: Vec<Op> = (0..4000).map(|_| chooser.next()).collect();
        let dels = ops.iter().filter(|op| matches!(op, Op::Del(0..7))).count();
        assert!((2800..3200).contains(&dels), "{dels}");
        assert!(
            ops.iter()
                .all(|op| matches!(op, Op::Del(_) | Op::Get(0..7)))
        );
    }

    #[test]
    fn requests_name_the_connections_keys() {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new("p:".into(), 3);
        encoder.encode(Op::SortedRange(4, u32::MAX), &mut bytes);
        let expected =
            "*5\r\n$6\r\nZRANGE\r\n$5\r\np:z:4\r\n$1\r\n0\r\n$2\r\n-1\r\n$10\r\nWITHSCORES\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
