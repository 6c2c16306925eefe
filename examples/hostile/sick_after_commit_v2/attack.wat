;; Version 2 says that it is well when it is asked before the commit (after its start, and with the state taken over),
;; and that it is not when it is asked afterwards.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.sick-after-commit\"}],\"state-version\":1,\"lifecycle\":[\"health\"]}")
;; end describe

;; begin health
(if (result i32) (i32.le_u (global.get $asked) (i32.const 2))
  (then (call $well (i32.const 1) (i32.const 260) (i32.const 0)))
  (else (call $well (i32.const 0) $"made to be ill once it is committed")))
;; end health
