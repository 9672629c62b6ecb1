//! Each field of a policy on evidence of a simulated platform, appraised as real evidence is.

#![allow(clippy::unwrap_used, reason = "test code, outside of test functions")]

use std::sync::Arc;

use inclavared_attest::appraise::{Appraise as _, Appraised, Appraiser, CollateralBook, Root, TrustRoots};
use inclavared_attest::attester::{Attester as _, UserData};
use inclavared_attest::evidence::{Claims, Evidence, Tee};
use inclavared_attest::hop_key::HopKey;
use inclavared_attest::policy::{
    Applies, Demand, Field, FieldValue, HopPlace, HopRule, Measurements, Policy, PolicyError, ReferenceValue, Test,
    Verdict,
};
use inclavared_attest::sim::{QuoteFormat, SimAttester, SimPlatform, SimSnpAttester, SimSnpSpec, SimSpec};
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
        let claims = Claims::new(HopKey::generate().unwrap().kid(), None);
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
        let policy = policy(spec.tee(), value, demand);
        policy.admit(&HopPlace { position: 1, last: true, role: "workload" }, &appraised, &claims, NOW)
    }
}

fn policy(tee: Tee, value: ReferenceValue, demand: Demand) -> Policy {
    let rule = HopRule {
        applies: Applies::Any,
        tees: [tee].into(),
        reference_values: vec![value],
        demands: vec![demand],
        config_digest: None,
    };
    Policy {
        name: "fields".into(),
        allow_simulated: true,
        measurements: Measurements::Rules(vec![rule]),
        ..Policy::genuine_only()
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
fn what_a_simulated_guest_states_arrives_and_is_compared() {
    let platform = Arc::new(SimPlatform::generate(NOW).unwrap().with_amd(NOW).unwrap());
    let amd = platform.amd().unwrap();
    let roots = TrustRoots::vendors().with_simulated_amd([amd.root().clone()]);
    let book = CollateralBook::new();
    book.amd(Root::Simulated).insert_set(amd.set(), roots.amd(Root::Simulated), NOW).unwrap();
    let appraiser = Appraiser::new(roots, Arc::new(book));
    let judge = |spec: &SimSnpSpec, demand: Demand| {
        let attester = SimSnpAttester::new(&platform, spec.clone(), NOW).unwrap();
        let claims = Claims::new(HopKey::generate().unwrap().kid(), None);
        let quote = attester.quote(&UserData::of(&claims)).unwrap();
        let evidence = Evidence::new(attester.tag(), quote, claims.clone()).unwrap();
        appraiser.learn_endorsements(&evidence, &attester.endorsements().unwrap(), NOW).unwrap();
        let value = ReferenceValue::SevSnp { measurement: spec.measurement };
        let policy = policy(Tee::SevSnp, value, demand);
        let appraised = appraiser.appraise(&evidence, NOW).unwrap();
        policy.admit(&HopPlace { position: 1, last: true, role: "workload" }, &appraised, &claims, NOW)
    };
    let usual = SimSnpSpec::new("fields");
    let mut compared = 0;
    for &field in Field::ALL.iter().filter(|field| field.tee() == Tee::SevSnp && **field != Field::SnpMeasurement) {
        let value = match (field, field.width()) {
            (Field::Vmpl, _) => FieldValue::Number(2),
            (Field::GuestPolicy, _) => FieldValue::Number(0x12_0000),
            (_, Some(width)) => FieldValue::Bytes((0..width).map(|i| i as u8 ^ 0x5a).collect()),
            (_, None) => FieldValue::Number(0x1234_5678),
        };
        let mut stated = usual.clone();
        stated.set(field, &value).unwrap();
        let demand = Demand::one(field, value.clone());
        let verdict = judge(&stated, demand.clone()).unwrap();
        assert_eq!(verdict.comparisons.last().unwrap().field, field.name());
        let error = judge(&usual, demand).unwrap_err();
        assert_eq!((error.reason, error.what.as_str()), (Reason::Measurement, field.name()));
        assert_eq!(error.expected, value.to_string());
        compared += 1;
    }
    assert_eq!(compared, 8);
    let mut spec = usual;
    let refused = spec.set(Field::Xfam, &FieldValue::Number(1)).unwrap_err().to_string();
    assert_eq!(refused, "xfam is no field of a simulated guest, or has another kind of value");
    let refused = spec.set(Field::Vmpl, &FieldValue::Number(u64::MAX)).unwrap_err().to_string();
    assert_eq!(refused, "vmpl does not hold such a value");
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
