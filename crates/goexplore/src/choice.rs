//! Where the explorer's decisions come from: a search through all of them, a random number generator, or a list of earlier ones.
//!
//! Invariant: an execution is a function of its choices, so the list of choices replays it.

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Which thread goes on; option 0 is the current one if it can.
    Thread {
        /// Whether option 0 is the current thread.
        can_stay: bool,
    },
    /// Which store is read; option 0 is the newest.
    Store,
    /// The model's own, [`choose`](crate::choose).
    Model,
}

/// xorshift64*: small, seeded, good enough to vary a schedule.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // Seeds that differ in one bit give different sequences (splitmix64's finalizer).
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((z ^ (z >> 31)) | 1)
    }

    pub(crate) fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        (high % u64::from(n)) as u32
    }
}

/// A decision taken: which option, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) option: u32,
    pub(crate) of: u32,
}

pub(crate) enum Source {
    /// Depth first: follow what is recorded, then always the first option.
    Search,
    /// With a chance of one in `restless`, something else than going on.
    Random { random: Random, restless: u32 },
    /// As given; the first option where the list ends.
    Replay(Vec<u32>),
}

pub(crate) struct Chooser {
    source: Source,
    /// Every decision of this execution; for a search, at its start, those to be followed.
    pub(crate) path: Vec<Taken>,
    at: usize,
}

impl Chooser {
    pub(crate) fn new(source: Source, path: Vec<Taken>) -> Chooser {
        Chooser {
            source,
            path,
            at: 0,
        }
    }

    /// One of `of` options, or `None` if a recorded choice had another number of them: the model is not deterministic.
    pub(crate) fn choose(&mut self, of: u32, kind: Kind) -> Option<u32> {
        if of < 2 {
            return Some(0);
        }
        let option = match &mut self.source {
            Source::Search => match self.path.get(self.at) {
                Some(taken) if taken.of != of => return None,
                Some(taken) => taken.option,
                None => 0,
            },
            Source::Replay(list) => list.get(self.at).copied().unwrap_or(0).min(of - 1),
            Source::Random { random, restless } => match kind {
                Kind::Thread { can_stay: true } | Kind::Store if random.below(*restless) != 0 => 0,
                _ => random.below(of),
            },
        };
        if self.at == self.path.len() {
            self.path.push(Taken { option, of });
        }
        self.at += 1;
        Some(option)
    }
}

/// The path of the next execution of a search, or `None` when all have been tried.
pub(crate) fn next_path(mut path: Vec<Taken>) -> Option<Vec<Taken>> {
    while let Some(last) = path.last_mut() {
        last.option += 1;
        if last.option < last.of {
            return Some(path);
        }
        path.pop();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_tries_every_combination_once() {
        let mut seen = Vec::new();
        let mut path = Some(Vec::new());
        while let Some(start) = path {
            let mut chooser = Chooser::new(Source::Search, start);
            let first = chooser.choose(3, Kind::Model).unwrap();
            // What can be chosen may depend on what was.
            let second = chooser
                .choose(if first == 1 { 2 } else { 1 }, Kind::Model)
                .unwrap();
            seen.push((first, second));
            path = next_path(chooser.path);
        }
        assert_eq!(seen, [(0, 0), (1, 0), (1, 1), (2, 0)]);
    }

    #[test]
    fn a_recorded_choice_among_another_number_is_refused() {
        let path = vec![Taken { option: 1, of: 3 }];
        let mut chooser = Chooser::new(Source::Search, path);
        assert_eq!(chooser.choose(2, Kind::Model), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_choices() {
        let run = |seed| {
            let random = Random::new(seed);
            let mut chooser = Chooser::new(
                Source::Random {
                    random,
                    restless: 3,
                },
                Vec::new(),
            );
            (0..50)
                .map(|_| chooser.choose(4, Kind::Store).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!(run(7).contains(&3));
    }
}
