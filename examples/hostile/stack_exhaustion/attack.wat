;; Calls itself until the stack is used up: it must be the guest's stack, not the thread's.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.stack-exhaustion\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe

;; begin handle
(drop (call $handle (local.get $message)))
unreachable
;; end handle
