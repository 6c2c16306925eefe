;; May publish to hostile.chatter, and publishes to a subject that others believe. The kernel's answer is handed on.

;; use bus

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.forbidden-subject\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe

;; begin handle
(call $publish $"fhir.patient.updated" $"{\"id\":\"forged\"}" (i32.const 0) (i32.const 0) (i32.const 64))
(if (result i32) (i32.load8_u (i32.const 64))
  (then (i32.const 64)) ;; refused: the failure lies where ours would
  (else (call $answer $"\"published\"")))
;; end handle
