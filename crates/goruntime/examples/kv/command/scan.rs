//! `SCAN` and its relatives: going through a dictionary piece by piece, with the guarantee of [`Dict::scan`](crate::dict::Dict::scan).

use super::Call;
use crate::db::KeyEntry;
use crate::dict::Str;
use crate::error::{Error, Result};
use crate::glob;
use crate::number::float_text;
use crate::value::{Collection, Hash, Set};
use crate::zset::SortedSet;
use goruntime::gc::Gc;

/// Buckets visited for each element asked for, at most, so that an empty table does not take long either.
const BUCKETS_PER_ELEMENT: usize = 10;

/// What a request for a piece asks for.
struct Piece<'a> {
    cursor: u64,
    /// About so many elements.
    count: usize,
    pattern: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
}

impl<'a> Piece<'a> {
    /// Reads the cursor at `index` and the options after it.
    fn parse(call: &Call<'a>, index: usize, with_kind: bool) -> Result<Piece<'a>> {
        let mut piece = Piece {
            cursor: cursor(call, index)?,
            count: 10,
            pattern: None,
            kind: None,
        };
        let mut options = call.options(index + 1);
        while let Some(option) = options.option() {
            let argument = options.argument()?;
            match option.as_bytes() {
                b"count" => {
                    let count = crate::number::integer(argument).ok_or(Error::NOT_INTEGER)?;
                    piece.count = usize::try_from(count).map_err(|_| Error::SYNTAX)?;
                    if piece.count == 0 {
                        return Err(Error::SYNTAX);
                    }
                }
                b"match" => piece.pattern = Some(argument),
                b"type" if with_kind => piece.kind = Some(argument),
                _ => return Err(Error::SYNTAX),
            }
        }
        Ok(piece)
    }

    /// Calls `step` with the cursor and the elements so far until there are enough of them or no more.
    fn gather<T>(&self, mut step: impl FnMut(u64, &mut Vec<T>) -> u64) -> (u64, Vec<T>) {
        let (mut cursor, mut found) = (self.cursor, Vec::new());
        for _ in 0..self.count.saturating_mul(BUCKETS_PER_ELEMENT) {
            cursor = step(cursor, &mut found);
            if cursor == 0 || found.len() >= self.count {
                break;
            }
        }
        (cursor, found)
    }

    fn wants(&self, name: Str) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, name.as_slice()))
    }
}

fn cursor(call: &Call<'_>, index: usize) -> Result<u64> {
    match std::str::from_utf8(call.args.at(index)) {
        Ok("") => Ok(0),
        Ok(cursor) => cursor
            .parse()
            .map_err(|_| Error::fixed("ERR invalid cursor")),
        Err(_) => Err(Error::fixed("ERR invalid cursor")),
    }
}

fn reply_piece(call: &mut Call<'_>, cursor: u64, elements: usize) {
    call.reply.array(2);
    call.reply.bulk(cursor.to_string().as_bytes());
    call.reply.array(elements);
}

/// `SCAN`.
pub fn scan(call: &mut Call<'_>) -> Result {
    let piece = Piece::parse(call, 1, true)?;
    let now = call.now;
    let db = call.db();
    let (cursor, mut found) = piece
        .gather(|cursor, found: &mut Vec<KeyEntry>| db.scan(cursor, |entry| found.push(entry)));
    found.retain(|entry| {
        let kind = entry.value.value.type_name().as_bytes();
        !entry.value.is_expired(now)
            && piece.wants(entry.key())
            && piece
                .kind
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(kind))
    });
    reply_piece(call, cursor, found.len());
    for entry in found {
        call.reply.bulk(entry.key().as_slice());
    }
    Ok(())
}

/// The piece that the request asks for of the collection at its key; replies if there is none.
fn of_key<'a, C: Collection>(call: &mut Call<'a>) -> Result<Option<(Piece<'a>, Gc<C>)>> {
    cursor(call, 2)?;
    let (now, key) = (call.now, call.key());
    let Some(collection) = call.db().read_as::<C>(key, now)? else {
        reply_piece(call, 0, 0);
        return Ok(None);
    };
    Ok(Some((Piece::parse(call, 2, false)?, collection)))
}

/// `SSCAN`.
pub fn sscan(call: &mut Call<'_>) -> Result {
    let Some((piece, set)) = of_key::<Set>(call)? else {
        return Ok(());
    };
    let (cursor, mut found) =
        piece.gather(|cursor, found| set.scan(cursor, |entry| found.push(entry.key())));
    found.retain(|member| piece.wants(*member));
    reply_piece(call, cursor, found.len());
    for member in found {
        call.reply.bulk(member.as_slice());
    }
    Ok(())
}

/// `HSCAN`.
pub fn hscan(call: &mut Call<'_>) -> Result {
    let Some((piece, hash)) = of_key::<Hash>(call)? else {
        return Ok(());
    };
    let (cursor, mut found) = piece.gather(|cursor, found| {
        hash.scan(cursor, |entry| {
            found.extend(entry.value.load().map(|v| (entry.key(), v)))
        })
    });
    found.retain(|(field, _)| piece.wants(*field));
    reply_piece(call, cursor, 2 * found.len());
    for (field, value) in found {
        call.reply.bulk(field.as_slice());
        call.reply.bulk(value.as_slice());
    }
    Ok(())
}

/// `ZSCAN`.
pub fn zscan(call: &mut Call<'_>) -> Result {
    let Some((piece, set)) = of_key::<SortedSet>(call)? else {
        return Ok(());
    };
    let (cursor, mut found) =
        piece.gather(|cursor, found| set.scan(cursor, |node| found.push(node)));
    found.retain(|node| piece.wants(node.member()));
    reply_piece(call, cursor, 2 * found.len());
    for node in found {
        call.reply.bulk(node.member().as_slice());
        call.reply.bulk(float_text(node.score()).as_bytes());
    }
    Ok(())
}
