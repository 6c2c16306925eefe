;; Version 2 starts and is healthy, and traps when the state of version 1 is handed to it.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.trap-in-handover\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe

;; begin import-state
unreachable
;; end import-state
