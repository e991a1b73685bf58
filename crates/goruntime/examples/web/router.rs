//! Who answers which path.

use crate::http::Response;
use crate::request::Request;
use std::collections::HashMap;

/// The parts of a path that a pattern left open, by name.
pub type Found = HashMap<&'static str, String>;

type Handler = Box<dyn Fn(&Request, &Found) -> Response + Send + Sync>;

/// Routes, of which the first that fits answers.
#[derive(Default)]
pub struct Router(Vec<Route>);

struct Route {
    method: &'static str,
    pattern: Vec<Part>,
    handler: Handler,
}

/// What one piece of a path, between slashes, may be.
enum Part {
    Exactly(&'static str),
    /// Anything, under this name.
    One(&'static str),
    /// Everything from here on.
    Rest(&'static str),
}

impl Router {
    pub fn new() -> Router {
        Router::default()
    }

    /// Adds a route. In the pattern `{name}` stands for one piece of the path, and `{name..}` at the end for all that follow.
    pub fn on(
        mut self,
        method: &'static str,
        pattern: &'static str,
        handler: impl Fn(&Request, &Found) -> Response + Send + Sync + 'static,
    ) -> Router {
        let part =
            |piece: &'static str| match piece.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                None => Part::Exactly(piece),
                Some(name) => match name.strip_suffix("..") {
                    Some(name) => Part::Rest(name),
                    None => Part::One(name),
                },
            };
        self.0.push(Route {
            method,
            pattern: pattern.split('/').map(part).collect(),
            handler: Box::new(handler),
        });
        self
    }

    /// Finds who answers, and lets him.
    pub fn answer(&self, request: &Request) -> Response {
        let mut fits = false;
        for route in &self.0 {
            let Some(found) = matches(&route.pattern, &request.path) else {
                continue;
            };
            fits = true;
            if route.method == request.method || (route.method, &*request.method) == ("GET", "HEAD")
            {
                return (route.handler)(request, &found);
            }
        }
        Response::error(if fits { 405 } else { 404 })
    }
}

fn matches(pattern: &[Part], path: &str) -> Option<Found> {
    let mut found = Found::new();
    let mut pieces = path.split('/');
    for part in pattern {
        let piece = pieces.next()?;
        match part {
            Part::Exactly(text) if *text == piece => {}
            Part::Exactly(_) => return None,
            Part::One(name) => {
                found.insert(name, piece.to_owned());
            }
            Part::Rest(name) => {
                let rest: Vec<&str> = std::iter::once(piece).chain(pieces.by_ref()).collect();
                found.insert(name, rest.join("/"));
            }
        }
    }
    pieces.next().is_none().then_some(found)
}
