//! Each field of a policy on evidence of a simulated platform, appraised as real evidence is.

use std::sync::Arc;

use inclavared_attest::appraise::{Appraise as _, Appraised, Appraiser, CollateralBook, Root, TrustRoots};
use inclavared_attest::attester::{Attester as _, UserData};
use inclavared_attest::evidence::{Claims, Evidence, Tee};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::policy::{
    Applies, Demand, Field, FieldValue, HopPlace, HopRule, Measurements, Policy, PolicyError, ReferenceValue, Test,
    Verdict,
};
use inclavared_attest::sim::{QuoteFormat, SimAttester, SimPlatform, SimSpec};
use inclavared_attest::{Reason, Timestamp};

const NOW: Timestamp = Timestamp(1_800_000_000);

struct World {
    platform: Arc<SimPlatform>,
    appraiser: Appraiser,
}

impl World {
    fn new() -> Self {
        let platform = SimPlatform::generate(NOW).unwrap();
        let book = CollateralBook::new();
        for tee in [Tee::Sgx, Tee::Tdx] {
            book.insert(Root::Simulated, Arc::new(platform.collateral(tee).unwrap().clone())).unwrap();
        }
        let roots = TrustRoots::intel().with_simulated(platform.root_der());
        Self { platform: Arc::new(platform), appraiser: Appraiser::new(roots, Arc::new(book)) }
    }

    fn appraised(&self, spec: &SimSpec) -> (Claims, Arc<Appraised>) {
        let attester = SimAttester::new(&self.platform, spec.clone()).unwrap();
        let claims = Claims::new(HopKey::generate().unwrap().kid(), None, None);
        let quote = attester.quote(&UserData::of(&claims)).unwrap();
        let evidence = Evidence::new(attester.tag(), quote, claims.clone()).unwrap();
        (claims, self.appraiser.appraise(&evidence, NOW).unwrap())
    }

    fn admit(&self, spec: &SimSpec, demand: Demand) -> Result<Verdict, PolicyError> {
        let (claims, appraised) = self.appraised(spec);
        let value = match spec.tee() {
            Tee::Sgx => ReferenceValue::SgxEnclave { mrenclave: spec.mrenclave },
            _ => ReferenceValue::Tdx { mrtd: spec.mrtd, rtmr: [None; 4], mrconfigid: None },
        };
        let rule = HopRule {
            applies: Applies::Any,
            tees: [spec.tee()].into(),
            reference_values: vec![value],
            demands: vec![demand],
            config_digest: None,
        };
        let policy = Policy {
            name: "fields".into(),
            allow_simulated: true,
            measurements: Measurements::Rules(vec![rule]),
            ..Policy::genuine_only()
        };
        policy.admit(&HopPlace { position: 1, last: true, role: "workload" }, &appraised, &claims, NOW)
    }
}

#[test]
fn what_the_simulated_platform_states_arrives_and_is_compared() {
    let world = World::new();
    let tdx_v5 = SimSpec { format: QuoteFormat::TdxV5, ..SimSpec::tdx("fields") };
    for spec in [SimSpec::sgx("fields"), SimSpec::tdx("fields"), tdx_v5] {
        let mut compared = 0;
        for &field in Field::ALL.iter().filter(|field| field.tee() == spec.tee()) {
            let value = match field {
                Field::MrSignerSeam => continue,
                // Bits that appraisal lets through: SEPT_VE_DISABLE and PKS; INIT, 64 bit, KSS.
                Field::TdAttributes => FieldValue::Bytes(vec![0, 0, 0, 0x50, 0, 0, 0, 0]),
                Field::Attributes => FieldValue::Bytes([&[0x85, 0, 0, 0, 0, 0, 0, 0, 0xe7][..], &[0; 7]].concat()),
                field => match field.width() {
                    Some(len) => FieldValue::Bytes((0..len).map(|i| i as u8 ^ 0x5a).collect()),
                    None => FieldValue::Number(0x1234),
                },
            };
            let mut stated = spec.clone();
            stated.set(field, &value).unwrap();
            let demand = Demand::one(field, value.clone());
            let verdict = world.admit(&stated, demand.clone()).unwrap();
            let told = verdict.comparisons.last().unwrap();
            assert_eq!((told.field, &told.found), (field.name(), &value.to_string()));

            // The same demand on evidence that states something else.
            let usual = field.read(&world.appraised(&spec).1.code).unwrap();
            assert_ne!(usual, value, "{field}");
            let error = world.admit(&spec, demand).unwrap_err();
            assert_eq!((error.reason, error.what.as_str()), (Reason::Measurement, field.name()));
            assert_eq!((error.expected, error.found), (value.to_string(), usual.to_string()));
            compared += 1;
        }
        assert_eq!(compared, if spec.tee() == Tee::Sgx { 10 } else { 11 });
    }
}

#[test]
fn what_cannot_be_stated_is_named() {
    let mut spec = SimSpec::sgx("fields");
    for (field, value, said) in [
        (Field::Xfam, FieldValue::Bytes(vec![0; 8]), "xfam is of another kind of TEE than the one that is simulated"),
        (Field::ConfigId, FieldValue::Bytes(vec![0; 63]), "configid does not hold such a value"),
        (Field::IsvSvn, FieldValue::Number(0x1_0000), "isvsvn does not hold such a value"),
        (Field::IsvSvn, FieldValue::Bytes(vec![1, 0]), "isvsvn cannot be simulated"),
    ] {
        assert_eq!(spec.set(field, &value).unwrap_err().to_string(), said);
    }
    let mut spec = SimSpec::tdx("fields");
    let refused = spec.set(Field::MrSignerSeam, &FieldValue::Bytes(vec![0; 48])).unwrap_err();
    assert_eq!(refused.to_string(), "mrsignerseam cannot be simulated");
}

#[test]
fn a_minimum_is_a_minimum() {
    let world = World::new();
    let mut spec = SimSpec::sgx("fields");
    spec.set(Field::ConfigSvn, &FieldValue::Number(5)).unwrap();
    world.admit(&spec, Demand { field: Field::ConfigSvn, test: Test::AtLeast(5) }).unwrap();
    let error = world.admit(&spec, Demand { field: Field::ConfigSvn, test: Test::AtLeast(6) }).unwrap_err();
    assert_eq!(error.to_string(), "policy `fields`, configsvn: expected 6 or higher, found 5");
}
