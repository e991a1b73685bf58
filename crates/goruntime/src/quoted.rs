//! Code that Markdown pages quote, compiled and run as tests.

#[doc = include_str!("../../../README.md")]
struct OfTheWorkspace;

#[doc = include_str!("../README.md")]
struct OfTheCrate;

#[doc = include_str!("../../../docs/src/go-to-goruntime.md")]
struct FromGo;

#[doc = include_str!("../../../docs/src/tokio-to-goruntime.md")]
struct FromTokio;
