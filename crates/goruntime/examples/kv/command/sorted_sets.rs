//! Sorted sets.

use super::call::index_range;
use super::{Call, Command, ONE_KEY, READ, READ_FAST, WRITE_FAST, scan};
use crate::error::{Error, Result};
use crate::number::{float, integer};
use crate::zset::{Bound, Node, SortedSet};
use goruntime::gc::Gc;
use std::ops::Range;

const GROUP: &str = "sorted-set";

/// The commands that are defined here.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    Command::new("zadd", -4, WRITE_FAST, ONE_KEY, GROUP, "Add members to a sorted set, or change their scores", zadd),
    Command::new("zincrby", 4, WRITE_FAST, ONE_KEY, GROUP, "Add to the score of a member of a sorted set", zincrby),
    Command::new("zrem", -3, WRITE_FAST, ONE_KEY, GROUP, "Remove members from a sorted set", zrem),
    Command::new("zscore", 3, READ_FAST, ONE_KEY, GROUP, "Get the score of a member of a sorted set", zscore),
    Command::new("zcard", 2, READ_FAST, ONE_KEY, GROUP, "Count the members of a sorted set", zcard),
    Command::new("zcount", 4, READ_FAST, ONE_KEY, GROUP, "Count the members of a sorted set in a range of scores", zcount),
    Command::new("zrank", 3, READ_FAST, ONE_KEY, GROUP, "Count the members below one of a sorted set", zrank),
    Command::new("zrevrank", 3, READ_FAST, ONE_KEY, GROUP, "Count the members above one of a sorted set", zrevrank),
    Command::new("zrange", -4, READ, ONE_KEY, GROUP, "Get the members of a range of a sorted set", zrange),
    Command::new("zpopmin", -2, WRITE_FAST, ONE_KEY, GROUP, "Take the lowest members from a sorted set", zpopmin),
    Command::new("zpopmax", -2, WRITE_FAST, ONE_KEY, GROUP, "Take the highest members from a sorted set", zpopmax),
    Command::new("zscan", -3, READ, ONE_KEY, GROUP, "List the members of a sorted set piece by piece", scan::zscan),
];

/// How `ZADD` goes about it.
#[derive(Clone, Copy, Debug, Default)]
struct AddOptions {
    /// Leave members that are there alone.
    only_new: bool,
    /// Add no members.
    only_old: bool,
    /// Scores only go up.
    only_up: bool,
    /// Scores only go down.
    only_down: bool,
    /// Count changes, not only additions.
    changes: bool,
    /// Add to the score.
    increment: bool,
}

/// What adding one member did.
enum Added {
    /// The options forbade it.
    Refused,
    /// It has this score now, and had another, the same, or none.
    Done { score: f64, old: Option<f64> },
}

impl AddOptions {
    /// Reads the options; gives the index of the first score too.
    fn parse(call: &Call<'_>) -> Result<(AddOptions, usize)> {
        let mut parsed = AddOptions::default();
        let mut index = 2;
        let mut options = call.options(index);
        while let Some(option) = options.option() {
            let flag = match option.as_bytes() {
                b"nx" => &mut parsed.only_new,
                b"xx" => &mut parsed.only_old,
                b"gt" => &mut parsed.only_up,
                b"lt" => &mut parsed.only_down,
                b"ch" => &mut parsed.changes,
                b"incr" => &mut parsed.increment,
                _ => break,
            };
            *flag = true;
            index += 1;
        }
        let words = call.args.len() - index;
        if words == 0 || words % 2 == 1 {
            return Err(Error::SYNTAX);
        }
        let AddOptions {
            only_new,
            only_old,
            only_up,
            only_down,
            increment,
            ..
        } = parsed;
        if only_new && only_old {
            let text = "ERR XX and NX options at the same time are not compatible";
            return Err(Error::fixed(text));
        }
        if (only_new && (only_up || only_down)) || (only_up && only_down) {
            let text = "ERR GT, LT, and/or NX options at the same time are not compatible";
            return Err(Error::fixed(text));
        }
        if increment && words > 2 {
            let text = "ERR INCR option supports a single increment-element pair";
            return Err(Error::fixed(text));
        }
        Ok((parsed, index))
    }

    fn add(self, set: Gc<SortedSet>, member: &[u8], score: f64) -> Result<Added> {
        let Some(old) = set.score(member) else {
            if self.only_old {
                return Ok(Added::Refused);
            }
            set.insert(member, score);
            return Ok(Added::Done { score, old: None });
        };
        if self.only_new {
            return Ok(Added::Refused);
        }
        let score = if self.increment { old + score } else { score };
        if score.is_nan() {
            return Err(Error::fixed("ERR resulting score is not a number (NaN)"));
        }
        if (self.only_up && score <= old) || (self.only_down && score >= old) {
            return Ok(Added::Refused);
        }
        set.insert(member, score);
        Ok(Added::Done {
            score,
            old: Some(old),
        })
    }
}

fn zadd(call: &mut Call<'_>) -> Result {
    let (options, first) = AddOptions::parse(call)?;
    add_all(call, options, first)
}

fn zincrby(call: &mut Call<'_>) -> Result {
    add_all(
        call,
        AddOptions {
            increment: true,
            ..AddOptions::default()
        },
        2,
    )
}

fn add_all(call: &mut Call<'_>, options: AddOptions, first: usize) -> Result {
    let (args, now, key) = (call.args, call.now, call.key());
    let pairs = (first..args.len()).step_by(2);
    let scores = pairs
        .clone()
        .map(|i| call.float(i))
        .collect::<Result<Vec<f64>>>()?;
    let set = match call.db().find_as::<SortedSet>(key, now)? {
        Some(set) => set,
        None if options.only_old => {
            match options.increment {
                true => call.reply.null(),
                false => call.reply.count(0),
            }
            return Ok(());
        }
        None => call.db().find_or_new(key, now)?,
    };
    let (mut new, mut changed, mut last) = (0, 0, None);
    for (i, score) in pairs.zip(scores) {
        if let Added::Done { score, old } = options.add(set, args.at(i + 1), score)? {
            last = Some(score);
            new += usize::from(old.is_none());
            changed += usize::from(old != Some(score));
        }
    }
    match (options.increment, last) {
        (true, Some(score)) => call.reply.float(score),
        (true, None) => call.reply.null(),
        (false, _) => call
            .reply
            .count(if options.changes { changed } else { new }),
    }
    Ok(())
}

fn zrem(call: &mut Call<'_>) -> Result {
    let (args, now, key) = (call.args, call.now, call.key());
    let mut removed = 0;
    if let Some(set) = call.db().find_as::<SortedSet>(key, now)? {
        removed = args
            .from(2)
            .filter(|member| set.remove(member).is_some())
            .count();
        call.db().prune(key, set);
    }
    call.reply.count(removed);
    Ok(())
}

fn read(call: &mut Call<'_>) -> Result<Option<Gc<SortedSet>>> {
    let (now, key) = (call.now, call.key());
    call.db().read_as(key, now)
}

fn zscore(call: &mut Call<'_>) -> Result {
    let set = read(call)?;
    match set.and_then(|set| set.score(call.args.at(2))) {
        Some(score) => call.reply.float(score),
        None => call.reply.null(),
    }
    Ok(())
}

fn zcard(call: &mut Call<'_>) -> Result {
    let set = read(call)?;
    call.reply.count(set.map_or(0, |set| set.len()));
    Ok(())
}

fn bound(text: &[u8]) -> Result<Bound> {
    let (exclusive, number) = match text {
        [b'(', number @ ..] => (true, number),
        number => (false, number),
    };
    // Nothing at all is zero, as C's `strtod` has it.
    let score = if number.is_empty() {
        Some(0.0)
    } else {
        float(number)
    };
    let score = score.ok_or(Error::fixed("ERR min or max is not a float"))?;
    Ok(Bound { score, exclusive })
}

fn zcount(call: &mut Call<'_>) -> Result {
    let (low, high) = (bound(call.args.at(2))?, bound(call.args.at(3))?);
    let set = read(call)?;
    call.reply
        .count(set.map_or(0, |set| set.ranks_between(low, high).len()));
    Ok(())
}

fn zrank(call: &mut Call<'_>) -> Result {
    reply_rank(call, |rank, _| rank)
}

fn zrevrank(call: &mut Call<'_>) -> Result {
    reply_rank(call, |rank, len| len - 1 - rank)
}

fn reply_rank(call: &mut Call<'_>, show: fn(usize, usize) -> usize) -> Result {
    let set = read(call)?;
    match set.and_then(|set| Some((set.rank(call.args.at(2))?, set.len()))) {
        Some((rank, len)) => call.reply.count(show(rank, len)),
        None => call.reply.null(),
    }
    Ok(())
}

/// What `ZRANGE` asks for.
#[derive(Default)]
struct RangeOptions {
    by_score: bool,
    reverse: bool,
    with_scores: bool,
    /// How many to skip, and how many to give after that; all of them if negative.
    limit: Option<(i64, i64)>,
}

impl RangeOptions {
    fn parse(call: &Call<'_>) -> Result<RangeOptions> {
        let mut parsed = RangeOptions::default();
        let mut options = call.options(4);
        while let Some(option) = options.option() {
            match option.as_bytes() {
                b"byscore" => parsed.by_score = true,
                b"rev" => parsed.reverse = true,
                b"withscores" => parsed.with_scores = true,
                b"limit" => {
                    let mut number = || integer(options.argument()?).ok_or(Error::NOT_INTEGER);
                    parsed.limit = Some((number()?, number()?));
                }
                _ => return Err(Error::SYNTAX),
            }
        }
        // Asking for all that there are is no limit.
        let is_limited = parsed.limit.is_some_and(|(_, count)| count != -1);
        if is_limited && !parsed.by_score {
            let text = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
            return Err(Error::fixed(text));
        }
        Ok(parsed)
    }

    /// Of ranks in the order of the reply, those that the limit leaves.
    fn limited(&self, ranks: Range<usize>) -> Range<usize> {
        let Some((skip, count)) = self.limit.filter(|_| self.by_score) else {
            return ranks;
        };
        let Ok(skip) = usize::try_from(skip) else {
            return 0..0;
        };
        let start = ranks.start.saturating_add(skip).min(ranks.end);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(ranks.end)
    }
}

fn zrange(call: &mut Call<'_>) -> Result {
    /// The two ends as they are written.
    enum Ends {
        Scores(Bound, Bound),
        Indices(i64, i64),
    }
    let options = RangeOptions::parse(call)?;
    let ends = match options.by_score {
        true => Ends::Scores(bound(call.args.at(2))?, bound(call.args.at(3))?),
        false => Ends::Indices(call.integer(2)?, call.integer(3)?),
    };
    let Some(set) = read(call)? else {
        call.reply.array(0);
        return Ok(());
    };
    // Ranks in the order of the reply: from the highest down if reversed.
    let len = set.len();
    let ranks = match ends {
        Ends::Indices(first, last) => index_range(first, last, len),
        Ends::Scores(high, low) if options.reverse => {
            let ranks = set.ranks_between(low, high);
            len - ranks.end..len - ranks.start
        }
        Ends::Scores(low, high) => set.ranks_between(low, high),
    };
    let ranks = options.limited(ranks);
    let (count, with_scores) = (ranks.len(), options.with_scores);
    if count == 0 {
        call.reply.array(0);
    } else if options.reverse {
        reply_nodes(
            call,
            set.descending(len - 1 - ranks.start).take(count),
            count,
            with_scores,
        );
    } else {
        reply_nodes(
            call,
            set.ascending(ranks.start).take(count),
            count,
            with_scores,
        );
    }
    Ok(())
}

fn reply_nodes(
    call: &mut Call<'_>,
    nodes: impl Iterator<Item = Gc<Node>>,
    count: usize,
    with_scores: bool,
) {
    call.reply.array(count * (1 + usize::from(with_scores)));
    for node in nodes {
        call.reply.bulk(node.member().as_slice());
        if with_scores {
            call.reply.float(node.score());
        }
    }
}

fn zpopmin(call: &mut Call<'_>) -> Result {
    pop(call, |set| set.ascending(0).next())
}

fn zpopmax(call: &mut Call<'_>) -> Result {
    pop(call, |set| set.ascending(set.len() - 1).next())
}

/// Takes members that `pick` picks from a set that is not empty.
fn pop(call: &mut Call<'_>, pick: fn(Gc<SortedSet>) -> Option<Gc<Node>>) -> Result {
    let count = match call.args.len() {
        2 => 1,
        3 => call.count(2)?,
        _ => return Err(Error::SYNTAX),
    };
    let (now, key) = (call.now, call.key());
    let Some(set) = call.db().find_as::<SortedSet>(key, now)? else {
        call.reply.array(0);
        return Ok(());
    };
    let count = count.min(set.len());
    call.reply.array(2 * count);
    for _ in 0..count {
        if let Some(node) = pick(set) {
            set.remove(node.member().as_slice());
            call.reply.bulk(node.member().as_slice());
            call.reply.float(node.score());
        }
    }
    call.db().prune(key, set);
    Ok(())
}
