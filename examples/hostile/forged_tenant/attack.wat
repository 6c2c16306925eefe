;; Publishes what it may, and claims in every place it can write to that it comes from another tenant, from the
;; administrator and from the kernel.

;; use bus

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.forged-tenant\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe

;; begin handle
(call $header (i32.const 0) $"tenant" $"victim")
(call $header (i32.const 1) $"principal" $"administrator")
(call $header (i32.const 2) $"source" $"kernel")
(call $header (i32.const 3) $"traceparent" $"00-11111111111111111111111111111111-2222222222222222-01")
(call $publish $"hostile.claim" $"{\"tenant\":\"victim\",\"principal\":\"administrator\",\"source\":\"kernel\"}"
  (i32.const 512) (i32.const 4) (i32.const 64))
(if (result i32) (i32.load8_u (i32.const 64))
  (then (i32.const 64))
  (else (call $answer $"\"claimed\"")))
;; end handle
