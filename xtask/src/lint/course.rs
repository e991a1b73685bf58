//! The course is complete: each lesson has its chapter, and the chapter what every chapter has.

use super::finding::{Finding, Tree};
use crate::lesson::LESSONS;
use std::path::Path;

/// What a chapter of the course ends with.
const QUESTIONS: &str = "## Questions";

/// Looks at the chapter of each lesson.
pub fn check(tree: &Tree) -> Result<Finding, String> {
    let mut problems = Vec::new();
    for lesson in LESSONS {
        let path = format!("docs/src/course/{}.md", lesson.name);
        let chapter = tree
            .markdown
            .iter()
            .find(|file| file.path == Path::new(&path));
        let Some(chapter) = chapter else {
            problems.push(format!("{path}: the lesson {} has no chapter", lesson.name));
            continue;
        };
        let plots = lesson
            .plots
            .iter()
            .map(|plot| format!("({}.svg)", plot.name));
        let command = format!("cargo xtask lesson {}", lesson.name);
        for part in plots.chain([command, QUESTIONS.to_owned()]) {
            if !chapter.text.contains(&part) {
                problems.push(format!("{path}: nowhere `{part}`"));
            }
        }
    }
    Ok(Finding::Looked {
        at: LESSONS.len(),
        what: "lessons",
        problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Text;

    #[test]
    fn a_chapter_has_its_command_its_pictures_and_questions() {
        let lesson = &LESSONS[0];
        let whole = format!(
            "`cargo xtask lesson {}` ![p]({}.svg)\n{QUESTIONS}\n",
            lesson.name, lesson.plots[0].name
        );
        let problems = |text: &str| {
            let file = Text {
                path: format!("docs/src/course/{}.md", lesson.name).into(),
                text: text.to_owned(),
            };
            let tree = Tree {
                root: "".into(),
                rust: Vec::new(),
                markdown: vec![file],
            };
            match check(&tree) {
                Ok(Finding::Looked { problems, .. }) => problems.len(),
                _ => panic!("the check did not look"),
            }
        };
        let others = LESSONS.len() - 1;
        assert_eq!(problems(&whole), others);
        assert_eq!(problems(""), others + 3);
    }
}
