//! The rule that makes the crates independent: which crate of the workspace may know which.
//!
//! The five subsystem crates know nothing of each other nor of what composes them, not even in their tests, and by
//! default they bring in only the few crates of [`FOUNDATION`]. The rule is read from `cargo metadata`, so a
//! dependency by another name, for one platform only, or optional is seen as well.

use super::finding::{Finding, Tree};
use crate::workspace::{at, list_at, metadata, text_at};
use std::collections::HashSet;
use tinyjson::JsonValue;

/// The crates from which a runtime is composed. None knows another.
const SUBSYSTEMS: &[&str] = &["gomem", "gogc", "gostack", "gosched", "gosysmon"];

/// What another member may depend on within the workspace.
struct Rule {
    name: &'static str,
    /// In any way.
    knows: &'static [&'static str],
    /// In its tests besides.
    tests_with: &'static [&'static str],
}

const OTHERS: &[Rule] = &[
    Rule {
        name: "goruntime-macros",
        knows: &[],
        // The port whose trait the derive implements.
        tests_with: &["gogc"],
    },
    Rule {
        name: "goexplore",
        knows: &[],
        tests_with: &[],
    },
    Rule {
        name: "gomem-c",
        knows: &["gomem"],
        tests_with: &[],
    },
    Rule {
        name: "goruntime",
        knows: &[
            "gomem",
            "gogc",
            "gostack",
            "gosched",
            "gosysmon",
            "goruntime-macros",
        ],
        tests_with: &[],
    },
    Rule {
        name: "goruntime-tests",
        knows: &[
            "gomem",
            "gogc",
            "gostack",
            "gosched",
            "gosysmon",
            "goruntime",
            "goruntime-macros",
        ],
        tests_with: &[],
    },
    Rule {
        name: "xtask",
        knows: &[],
        tests_with: &[],
    },
];

/// The schedule explorer. Every member may be built with it, but only for exploration.
const EXPLORER: (&str, &str) = ("goexplore", "cfg(explore)");

/// What a subsystem crate may depend on by default; what these need themselves comes with them.
const FOUNDATION: &[&str] = &["libc", "crossbeam-utils", "crossbeam-deque", "memmap2"];

/// Looks at every dependency that a member of the workspace declares.
pub fn check(_: &Tree) -> Result<Finding, String> {
    let (at, problems) = judge(&metadata()?);
    Ok(Finding::Looked {
        at,
        what: "declared dependencies",
        problems,
    })
}

fn judge(metadata: &JsonValue) -> (usize, Vec<String>) {
    let is_member = |package: &&JsonValue| {
        let id = text_at(package, &["id"]);
        list_at(metadata, &["workspace_members"])
            .iter()
            .any(|member| matches!(member, JsonValue::String(m) if Some(m.as_str()) == id))
    };
    let members: Vec<&JsonValue> = list_at(metadata, &["packages"])
        .iter()
        .filter(is_member)
        .collect();
    let names: HashSet<&str> = members
        .iter()
        .filter_map(|m| text_at(m, &["name"]))
        .collect();
    let known = SUBSYSTEMS
        .iter()
        .chain(OTHERS.iter().map(|rule| &rule.name));
    let mut problems: Vec<String> = known
        .filter(|name| !names.contains(**name))
        .map(|name| format!("{name} is not in the workspace; its rule looks at nothing"))
        .collect();
    let mut looked = 0;
    for member in members {
        let name = text_at(member, &["name"]).unwrap_or("");
        let is_subsystem = SUBSYSTEMS.contains(&name);
        let rule = OTHERS.iter().find(|rule| rule.name == name);
        if !is_subsystem && rule.is_none() {
            problems.push(format!(
                "{name} has no rule; give it one in xtask/src/lint/boundaries.rs"
            ));
        }
        for dependency in list_at(member, &["dependencies"]) {
            looked += 1;
            let on = text_at(dependency, &["name"]).unwrap_or("");
            let kind = text_at(dependency, &["kind"]).unwrap_or("normal");
            let platform = text_at(dependency, &["target"]).unwrap_or("");
            let may = on == name
                || (on, platform) == EXPLORER
                || rule.is_some_and(|rule| {
                    let in_tests = kind == "dev" && rule.tests_with.contains(&on);
                    rule.knows.contains(&on) || in_tests
                });
            if names.contains(on) && !may {
                problems.push(format!("{name} must not know {on} ({kind} dependency)"));
            } else if is_subsystem
                && !names.contains(on)
                && kind != "dev"
                && !FOUNDATION.contains(&on)
                && is_default(member, dependency)
            {
                problems.push(format!(
                    "{name} brings in {on} by default; allowed are {}",
                    FOUNDATION.join(", ")
                ));
            }
        }
    }
    (looked, problems)
}

/// Is a dependency there without any feature being asked for?
fn is_default(package: &JsonValue, dependency: &JsonValue) -> bool {
    if !matches!(
        at(dependency, &["optional"]),
        Some(JsonValue::Boolean(true))
    ) {
        return true;
    }
    let name = text_at(dependency, &["rename"]).or(text_at(dependency, &["name"]));
    let Some(name) = name else { return true };
    let (mut reached, mut open) = (HashSet::new(), vec!["default"]);
    while let Some(feature) = open.pop() {
        for enabled in list_at(package, &["features", feature]) {
            let JsonValue::String(enabled) = enabled else {
                continue;
            };
            // `dep:x` and `x/feature` bring in x; `x?/feature` does not.
            let by_name = enabled.strip_prefix("dep:").unwrap_or(enabled);
            if by_name.split('/').next() == Some(name) {
                return true;
            }
            if reached.insert(enabled) {
                open.push(enabled);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace in which every crate of the rule exists, and `gosched` declares `dependencies` and `features`.
    fn workspace(dependencies: &str, features: &str) -> JsonValue {
        let names = SUBSYSTEMS
            .iter()
            .chain(OTHERS.iter().map(|rule| &rule.name));
        let (mut packages, mut ids) = (Vec::new(), Vec::new());
        for name in names {
            let (d, f) = match *name {
                "gosched" => (dependencies, features),
                _ => ("", ""),
            };
            packages.push(format!(
                r#"{{"id":"{name}#1","name":"{name}","dependencies":[{d}],"features":{{{f}}}}}"#
            ));
            ids.push(format!(r#""{name}#1""#));
        }
        let json = format!(
            r#"{{"packages":[{}],"workspace_members":[{}]}}"#,
            packages.join(","),
            ids.join(",")
        );
        json.parse().unwrap()
    }

    fn problems(dependencies: &str, features: &str) -> Vec<String> {
        judge(&workspace(dependencies, features)).1
    }

    #[test]
    fn the_foundation_and_tests_tools_are_allowed() {
        let fine = r#"{"name":"libc","kind":null},{"name":"proptest","kind":"dev"}"#;
        assert_eq!(judge(&workspace(fine, "")), (2, Vec::new()));
    }

    #[test]
    fn a_subsystem_knows_no_other_of_any_kind() {
        for kind in ["null", r#""dev""#, r#""build""#] {
            for on in ["gomem", "goruntime", "goruntime-tests"] {
                let found = problems(&format!(r#"{{"name":"{on}","kind":{kind}}}"#), "");
                assert_eq!(found.len(), 1, "{on} {kind}");
            }
        }
        let optional = r#"{"name":"gogc","kind":null,"optional":true}"#;
        assert_eq!(problems(optional, "").len(), 1);
    }

    #[test]
    fn the_explorer_is_known_to_explored_builds_only() {
        let explored = r#"{"name":"goexplore","kind":null,"target":"cfg(explore)"}"#;
        assert_eq!(problems(explored, "").len(), 0);
        let always = r#"{"name":"goexplore","kind":null,"target":null}"#;
        assert_eq!(problems(always, "").len(), 1);
    }

    #[test]
    fn strangers_come_in_only_when_asked_for() {
        assert_eq!(problems(r#"{"name":"rand","kind":null}"#, "").len(), 1);
        let optional = r#"{"name":"rand","kind":null,"optional":true}"#;
        assert_eq!(problems(optional, r#""x":["dep:rand"]"#).len(), 0);
        assert_eq!(
            problems(optional, r#""default":["x"],"x":["dep:rand"]"#).len(),
            1
        );
        assert_eq!(problems(optional, r#""default":["rand/std"]"#).len(), 1);
        assert_eq!(problems(optional, r#""default":["rand?/std"]"#).len(), 0);
    }

    #[test]
    fn a_rule_for_a_crate_that_is_gone_is_a_problem() {
        let empty = r#"{"packages":[],"workspace_members":[]}"#.parse().unwrap();
        assert_eq!(judge(&empty).1.len(), SUBSYSTEMS.len() + OTHERS.len());
    }

    #[test]
    fn the_workspace_itself_is_read() {
        let (looked, _) = judge(&metadata().unwrap());
        assert!(looked > 0);
    }
}
