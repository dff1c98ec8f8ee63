# Names only. What each does is written where it is done.
.PHONY: demo test check sim fuzz bench doc dist
export PATH := $(HOME)/.cargo/bin:$(PATH)

demo:  ; protocol-tests/kafka/demo
test:  check doc ; cargo test --workspace --locked --no-fail-fast
check: ; cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings
sim:   ; cargo test --locked -p protocol-tests --test sim -- world_random:: mirror_ops::
fuzz:  ; fuzz/run
bench: ; benches/run
doc:   ; RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
dist:  ; .ci/dist
