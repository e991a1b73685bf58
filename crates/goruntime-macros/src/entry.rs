//! `#[goruntime::main]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, ItemFn, Path, Result, Token, parse_quote};

/// What stands in the attribute's parentheses.
struct Arguments {
    path: Path,
    allocator: bool,
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut arguments = Arguments {
            path: parse_quote!(::goruntime),
            allocator: true,
        };
        while !input.is_empty() {
            if input.peek(Token![crate]) {
                input.parse::<Token![crate]>()?;
                input.parse::<Token![=]>()?;
                arguments.path = input.parse()?;
            } else {
                let name: Ident = input.parse()?;
                if name != "allocator" {
                    return Err(Error::new(
                        name.span(),
                        "expected `allocator = none` or `crate = path`",
                    ));
                }
                input.parse::<Token![=]>()?;
                let value: Ident = input.parse()?;
                if value != "none" {
                    return Err(Error::new(
                        value.span(),
                        "expected `none`: the program then declares a `#[global_allocator]` of its own",
                    ));
                }
                arguments.allocator = false;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

/// The `main` that runs the function in the runtime.
pub(crate) fn expand(arguments: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let Arguments { path, allocator } = syn::parse2(arguments)?;
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = syn::parse2(function)?;
    if let Some(keyword) = &sig.asyncness {
        return Err(Error::new(
            keyword.span,
            "goroutines are not async: remove `async` and call blocking functions, which suspend only the goroutine",
        ));
    }
    if sig.ident != "main" {
        return Err(Error::new(
            sig.ident.span(),
            "this attribute belongs on `fn main`",
        ));
    }
    if !sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            &sig.inputs,
            "`main` takes no arguments: use `std::env::args()`",
        ));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &sig.generics,
            "`main` cannot be generic",
        ));
    }
    let allocator = allocator.then(|| {
        quote! {
            #[global_allocator]
            static GORUNTIME_ALLOCATOR: #path::GoMalloc = #path::GoMalloc::new();
        }
    });
    Ok(quote! {
        #allocator

        #(#attrs)*
        #vis #sig {
            #path::run_main(|| #block)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: TokenStream, function: TokenStream) -> String {
        expand(arguments, function)
            .unwrap()
            .to_string()
            .replace(' ', "")
    }

    fn error(arguments: TokenStream, function: TokenStream) -> String {
        expand(arguments, function).unwrap_err().to_string()
    }

    #[test]
    fn the_body_runs_in_the_runtime_on_its_allocator() {
        let text = expanded(
            quote!(),
            quote!(
                #[allow(unused)]
                fn main() -> u8 {
                    7
                }
            ),
        );
        let allocator = "#[global_allocator]staticGORUNTIME_ALLOCATOR:::goruntime::GoMalloc=::goruntime::GoMalloc::new();";
        let main = "#[allow(unused)]fnmain()->u8{::goruntime::run_main(||{7})}";
        assert_eq!(text, format!("{allocator}{main}"));
    }

    #[test]
    fn allocator_and_path_can_be_chosen() {
        let text = expanded(
            quote!(allocator = none, crate = crate::runtime),
            quote!(
                fn main() {}
            ),
        );
        assert_eq!(text, "fnmain(){crate::runtime::run_main(||{})}");
    }

    #[test]
    fn errors_say_what_to_do() {
        let fine = || {
            quote!(
                fn main() {}
            )
        };
        assert!(
            error(
                quote!(),
                quote!(
                    async fn main() {}
                )
            )
            .contains("remove `async`")
        );
        assert!(
            error(
                quote!(),
                quote!(
                    fn main(x: u8) {}
                )
            )
            .contains("std::env::args")
        );
        assert!(
            error(
                quote!(),
                quote!(
                    fn main<T>() {}
                )
            )
            .contains("generic")
        );
        assert!(
            error(
                quote!(),
                quote!(
                    fn start() {}
                )
            )
            .contains("`fn main`")
        );
        assert!(
            error(
                quote!(),
                quote!(
                    struct Main;
                )
            )
            .contains("expected")
        );
        assert!(error(quote!(workers = 3), fine()).contains("`allocator = none`"));
        assert!(error(quote!(allocator = system), fine()).contains("global_allocator"));
    }
}
