//! A list of notes that everybody may add to and take from.

use crate::http::Response;
use crate::json::{Quoted, array};
use crate::request::Request;
use goruntime::sync::Mutex;
use std::collections::BTreeMap;

/// Notes by number.
#[derive(Default)]
pub struct Notes(Mutex<(u64, BTreeMap<u64, String>)>);

impl Notes {
    pub fn list(&self) -> Response {
        let notes = self.0.lock();
        Response::json(200, array(notes.1.iter().map(|(id, text)| note(*id, text))))
    }

    pub fn add(&self, request: &Request) -> Response {
        let Ok(text) = std::str::from_utf8(&request.body) else {
            return Response::error(400);
        };
        let mut notes = self.0.lock();
        notes.0 += 1;
        let id = notes.0;
        notes.1.insert(id, text.to_owned());
        Response::json(201, note(id, text))
    }

    pub fn remove(&self, id: &str) -> Response {
        let removed = id.parse().ok().and_then(|id| self.0.lock().1.remove(&id));
        match removed {
            Some(_) => Response::new(204, "application/json", ""),
            None => Response::error(404),
        }
    }
}

fn note(id: u64, text: &str) -> String {
    format!("{{\"id\":{id},\"text\":{}}}", Quoted(text))
}
