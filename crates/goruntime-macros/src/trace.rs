//! `#[derive(Trace)]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Field, GenericParam, Index, Member, Meta, Path, Result,
    Token, Type, parse_quote,
};

/// The implementation for the type `input`.
pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let mut input: DeriveInput = syn::parse2(input)?;
    let path = trait_path(&input.attrs)?;
    refuse_packed(&input.attrs)?;
    for parameter in &mut input.generics.params {
        match parameter {
            GenericParam::Lifetime(lifetime) => {
                return Err(Error::new_spanned(
                    lifetime,
                    "a type with a lifetime parameter cannot be kept in the collected heap: what it borrows may end \
                     before the collector frees it. Own the data, or use a collected pointer instead of a reference",
                ));
            }
            GenericParam::Type(parameter) => parameter.bounds.push(parse_quote!(#path::Trace)),
            GenericParam::Const(_) => {}
        }
    }

    let map = match &input.data {
        Data::Struct(data) => struct_map(&path, data.fields.iter()),
        Data::Enum(data) => enum_map(
            &path,
            data.variants.iter().flat_map(|variant| &variant.fields),
        ),
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union cannot derive `Trace`: which of its fields is valid is not known to the collector",
            ));
        }
    };

    let name = &input.ident;
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    // Without parameters the map can be computed here and now, so that its errors appear without the type
    // being used.
    let check = input.generics.params.is_empty().then(|| {
        quote! { const _: #path::PointerMap = <#name as #path::Trace>::MAP; }
    });
    Ok(quote! {
        // SAFETY: the map is made of the maps of all fields, at their offsets or for the whole size; fields
        // change only through their own types, which obey the rules; and `Drop` is refused below.
        #[automatically_derived]
        unsafe impl #generics #path::Trace for #name #arguments #conditions {
            const MAP: #path::PointerMap = #map;
        }

        #[automatically_derived]
        impl #generics #path::TraceMustNotImplementDrop for #name #arguments #conditions {}

        #check
    })
}

/// The module that the traits are in: from `#[trace(crate = path)]`, or goruntime's.
fn trait_path(attributes: &[Attribute]) -> Result<Path> {
    let mut path: Path = parse_quote!(::goruntime::gc);
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("trace"))
    {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path`: there is no other setting"));
            }
            path = meta.value()?.parse()?;
            Ok(())
        })?;
    }
    Ok(path)
}

fn refuse_packed(attributes: &[Attribute]) -> Result<()> {
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("repr"))
    {
        let settings =
            attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
        if let Some(packed) = settings
            .iter()
            .find(|setting| setting.path().is_ident("packed"))
        {
            return Err(Error::new(
                packed.span(),
                "a packed type cannot be kept in the collected heap: the collector looks for pointers at aligned addresses only",
            ));
        }
    }
    Ok(())
}

/// The map of all fields at their offsets.
fn struct_map<'f>(path: &Path, fields: impl Iterator<Item = &'f Field>) -> TokenStream {
    let parts = fields.enumerate().map(|(index, field)| {
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index {
                index: index as u32,
                span: Span::call_site(),
            }),
        };
        let kind = &field.ty;
        let map = map_of(path, kind);
        quote! {
            .with(
                ::core::mem::offset_of!(Self, #member),
                #map,
                ::core::mem::size_of::<#kind>(),
            )
        }
    });
    quote! { #path::PointerMap::EMPTY #(#parts)* }
}

/// Every word, unless no field of any variant has pointers.
fn enum_map<'f>(path: &Path, fields: impl Iterator<Item = &'f Field>) -> TokenStream {
    let empty = fields.map(|field| {
        let map = map_of(path, &field.ty);
        quote! { && #map.is_empty() }
    });
    quote! {
        if true #(#empty)* {
            #path::PointerMap::EMPTY
        } else {
            #path::PointerMap::conservative(::core::mem::size_of::<Self>())
        }
    }
}

/// The map of a field's type; an error about it appears at the field.
fn map_of(path: &Path, kind: &Type) -> TokenStream {
    quote::quote_spanned! { kind.span() => <#kind as #path::Trace>::MAP }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(input: TokenStream) -> String {
        expand(input).unwrap_err().to_string()
    }

    /// Without spaces, which differ between token printers.
    fn expanded(input: TokenStream) -> String {
        expand(input).unwrap().to_string().replace(' ', "")
    }

    #[test]
    fn what_cannot_be_collected_is_refused_with_the_reason() {
        assert!(error(quote!(union U { a: u8 })).contains("union cannot derive"));
        assert!(
            error(quote!(
                struct S<'a>(&'a u8);
            ))
            .contains("lifetime parameter")
        );
        assert!(
            error(quote!(
                #[repr(C, packed(2))]
                struct S(u8);
            ))
            .contains("packed type")
        );
        assert!(
            error(quote!(
                #[trace(skip)]
                struct S(u8);
            ))
            .contains("`crate = path`")
        );
        assert!(
            error(quote!(
                fn f() {}
            ))
            .contains("expected")
        );
    }

    #[test]
    fn other_reprs_are_fine() {
        assert!(
            expand(quote!(
                #[repr(C, align(16))]
                struct S(u8);
            ))
            .is_ok()
        );
    }

    #[test]
    fn the_path_can_be_chosen() {
        assert!(
            expanded(quote!(
                struct S;
            ))
            .contains("::goruntime::gc::TraceforS")
        );
        let chosen = expanded(quote!(
            #[trace(crate = a::b)]
            struct S;
        ));
        assert!(chosen.contains("a::b::TraceforS") && !chosen.contains("goruntime"));
    }

    #[test]
    fn parameters_are_bounded_and_defaults_left_out() {
        let text = expanded(quote!(
            struct S<T: Copy = u8, const N: usize = 3>([T; N])
            where
                T: Eq;
        ));
        assert!(
            text.contains("impl<T:Copy+::goruntime::gc::Trace,constN:usize>"),
            "{text}"
        );
        assert!(text.contains("forS<T,N>whereT:Eq"), "{text}");
        assert!(
            !text.contains("const_:"),
            "a generic map cannot be computed at the derive"
        );
    }
}
