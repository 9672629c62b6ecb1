//! Routes and policies in TOML: parsed once into what they mean, with every mistake reported at once.
