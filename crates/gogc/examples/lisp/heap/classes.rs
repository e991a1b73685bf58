//! Sizes of cells.
//!
//! Small objects are everything here, so the small sizes are exact; from eight words on a quarter of a cell is wasted at most.

/// Words of a cell, header included, by class.
const SIZES: [usize; 22] = [
    2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 128, 256, 512,
];

/// Classes.
pub const COUNT: usize = SIZES.len();

/// What is larger has blocks of its own.
pub const LARGEST: usize = SIZES[COUNT - 1];

/// The class for each number of words up to [`LARGEST`].
const BY_WORDS: [u8; LARGEST + 1] = {
    let mut table = [0; LARGEST + 1];
    let (mut words, mut class) = (0, 0);
    while words <= LARGEST {
        if words > SIZES[class] {
            class += 1;
        }
        table[words] = class as u8;
        words += 1;
    }
    table
};

/// The class whose cells are the smallest that hold so many words; `None` if none does.
pub fn for_words(words: usize) -> Option<usize> {
    BY_WORDS.get(words).map(|class| usize::from(*class))
}

/// Words of its cells.
pub fn size(class: usize) -> usize {
    SIZES[class]
}

/// The place within a block where the cell begins that has the word `at`.
pub fn cell(class: usize, at: usize) -> usize {
    at - at % SIZES[class]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_has_the_smallest_cell_that_holds_it() {
        for words in 1..=LARGEST {
            let class = for_words(words).unwrap();
            assert!(size(class) >= words);
            assert!(class == 0 || size(class - 1) < words);
        }
        assert_eq!(for_words(LARGEST + 1), None);
        assert_eq!((cell(1, 0), cell(1, 5), cell(1, 6)), (0, 3, 6));
    }
}
