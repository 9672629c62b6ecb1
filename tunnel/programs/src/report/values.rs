//! Files of reference values for people and programs: what differs, what was measured.

use inclavared_config::Difference;
use serde_json::{Value, json};

use super::text::shown;
use crate::reference_values::Measured;

/// A paragraph each, values on lines of their own so that they can be copied. Ends with a newline.
pub fn differences_text(a: &str, b: &str, differences: &[Difference]) -> String {
    let (a, b) = (shown(a), shown(b));
    if differences.is_empty() {
        return format!("No difference between {a} and {b}\n");
    }
    let mut out = format!("- {a}\n+ {b}\n");
    let mut place = "";
    for difference in differences {
        if difference.place != place {
            place = &difference.place;
            out += &format!("{}\n", shown(place));
        }
        let value = |value: &Option<String>| value.as_ref().map_or("(not there)".to_owned(), |value| shown(value));
        out += &format!("  {}\n", shown(&difference.key));
        out += &format!("    - {}\n    + {}\n", value(&difference.a), value(&difference.b));
    }
    out
}

/// The same for programs.
pub fn differences_json(a: &str, b: &str, differences: &[Difference]) -> Value {
    let one = |d: &Difference| json!({ "place": d.place, "key": d.key, "a": d.a, "b": d.b });
    json!({
        "same": differences.is_empty(),
        "a": a,
        "b": b,
        "differences": differences.iter().map(one).collect::<Vec<_>>(),
    })
}

/// The measurement of an image, and whether its SIGSTRUCT names it.
pub fn measured_text(measured: &Measured) -> String {
    let image = &measured.image;
    let mut out = format!("mrenclave {}\n", hex::encode(image.mrenclave));
    out += &format!(
        "{} bytes, {} pages, {} of {} chunks measured\n",
        image.size,
        image.pages,
        image.measured_chunks,
        image.measured_chunks + image.unmeasured_chunks
    );
    if let (Some(signed), Some(agrees)) = (measured.signed, measured.agrees()) {
        let word = if agrees { "the same" } else { "ANOTHER" };
        out += &format!("{word} as the SIGSTRUCT names: {}\n", hex::encode(signed));
    }
    out
}

pub fn measured_json(measured: &Measured) -> Value {
    let image = &measured.image;
    json!({
        "form": image.form.name(),
        "mrenclave": hex::encode(image.mrenclave),
        "size": image.size,
        "ssa_frame_size": image.ssa_frame_size,
        "pages": image.pages,
        "measured_chunks": image.measured_chunks,
        "unmeasured_chunks": image.unmeasured_chunks,
        "signed": measured.signed.map(hex::encode),
        "agrees": measured.agrees(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_by_place() {
        let one = |place: &str, key: &str, a: Option<&str>, b: Option<&str>| Difference {
            place: place.into(),
            key: key.into(),
            a: a.map(str::to_owned),
            b: b.map(str::to_owned),
        };
        let all = [
            one("hop 1", "mrtd", Some("11"), Some("22")),
            one("hop 1", "xfam", Some("33"), None),
            one("path", "end", Some("workload"), Some("pl\u{1b}ain")),
        ];
        let expected = "- a\n+ b\nhop 1\n  mrtd\n    - 11\n    + 22\n  xfam\n    - 33\n    + (not there)\npath\n  end\n    \
                        - workload\n    + pl\\u{1b}ain\n";
        assert_eq!(differences_text("a", "b", &all), expected);
        assert_eq!(differences_text("a", "b", &[]), "No difference between a and b\n");
        let json = differences_json("a", "b", &all[1..2]);
        assert_eq!(json["differences"][0], json!({ "place": "hop 1", "key": "xfam", "a": "33", "b": null }));
        assert_eq!((&json["same"], &differences_json("a", "b", &[])["same"]), (&json!(false), &json!(true)));
    }
}
