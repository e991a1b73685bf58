//! `#[derive(Trace)]`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
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

    let (map, fields) = match &input.data {
        Data::Struct(data) => {
            let fields = traced(data.fields.iter())?;
            (struct_map(&path, &fields), struct_fields(&path, &fields))
        }
        Data::Enum(data) => {
            let all = data.variants.iter().flat_map(|variant| &variant.fields);
            (enum_map(&path, &traced(all)?), quote! { &[] })
        }
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
            const FIELDS: &'static [#path::Field] = #fields;
        }

        // The trait is made here and now: one that the type's author names could be any.
        const _: () = {
            trait TraceMustNotImplementDrop {}
            #[allow(drop_bounds)]
            impl<T: ::core::ops::Drop> TraceMustNotImplementDrop for T {}
            #[automatically_derived]
            impl #generics TraceMustNotImplementDrop for #name #arguments #conditions {}
        };

        #check
    })
}

/// The attributes for this macro.
fn settings(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("trace"))
}

/// The module that the traits are in: from `#[trace(crate = path)]`, or goruntime's.
fn trait_path(attributes: &[Attribute]) -> Result<Path> {
    let mut path: Path = parse_quote!(::goruntime::gc);
    for attribute in settings(attributes) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path`: a type has no other setting"));
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

/// A field that the collector has to know of, and its name or number.
struct Traced<'f> {
    member: Member,
    field: &'f Field,
}

/// The fields without `#[trace(unsafe(skip))]`.
fn traced<'f>(fields: impl Iterator<Item = &'f Field>) -> Result<Vec<Traced<'f>>> {
    let mut found = Vec::new();
    for (index, field) in fields.enumerate() {
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index {
                index: index as u32,
                span: Span::call_site(),
            }),
        };
        if !is_skipped(field)? {
            found.push(Traced { member, field });
        }
    }
    Ok(found)
}

fn is_skipped(field: &Field) -> Result<bool> {
    const EXPECTED: &str = "expected `unsafe(skip)`: the author promises that the field never holds a collected pointer, and may be dropped on any thread";
    let mut skipped = false;
    for attribute in settings(&field.attrs) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("unsafe") {
                return Err(meta.error(EXPECTED));
            }
            meta.parse_nested_meta(|inner| {
                skipped = inner.path.is_ident("skip");
                if skipped {
                    Ok(())
                } else {
                    Err(inner.error(EXPECTED))
                }
            })
        })?;
    }
    Ok(skipped)
}

/// The map of all fields at their offsets.
fn struct_map(path: &Path, fields: &[Traced<'_>]) -> TokenStream {
    let parts = fields.iter().map(|Traced { member, field }| {
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

/// The names of all fields.
fn struct_fields(path: &Path, fields: &[Traced<'_>]) -> TokenStream {
    let each = fields.iter().map(|Traced { member, field }| {
        let kind = &field.ty;
        quote! {
            #path::Field {
                name: ::core::stringify!(#member),
                offset: ::core::mem::offset_of!(Self, #member),
                size: ::core::mem::size_of::<#kind>(),
                fields: <#kind as #path::Trace>::FIELDS,
            }
        }
    });
    quote! { &[#(#each),*] }
}

/// Every word, unless no field of any variant has pointers.
fn enum_map(path: &Path, fields: &[Traced<'_>]) -> TokenStream {
    let empty = fields.iter().map(|Traced { field, .. }| {
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
    // Not spanned: the compiler would suggest to borrow what is no expression.
    let map = quote! { <#kind as #path::Trace>::MAP };
    quote_spanned! { kind.span() => const { #map } }
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
                struct S(#[trace(skip)] u8);
            ))
            .contains("`unsafe(skip)`")
        );
        assert!(
            error(quote!(
                enum E {
                    A(#[trace(unsafe(leave))] u8),
                }
            ))
            .contains("`unsafe(skip)`")
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
    fn fields_may_be_skipped() {
        let text = expanded(quote!(
            struct S {
                traced: A,
                #[trace(unsafe(skip))]
                skipped: B,
            }
        ));
        assert!(text.contains("<Aas") && !text.contains("<Bas"), "{text}");
        let text = expanded(quote!(
            enum E {
                First(#[trace(unsafe(skip))] A, B),
            }
        ));
        assert!(!text.contains("<Aas") && text.contains("<Bas"), "{text}");
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
            !text.contains("PointerMap=<S"),
            "a generic map cannot be computed at the derive"
        );
    }
}
