//! The appraiser and the policy of these tests.
