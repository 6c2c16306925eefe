;; Answers with 16 MiB of text, where 64 KiB are allowed.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.huge-output\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe

;; begin handle
(drop (memory.grow (i32.const 256)))
(call $answer (i32.const 131072) (i32.const 16777216))
;; end handle
