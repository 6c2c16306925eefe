;; Version 1 behaves: it counts messages, and hands its count over.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.sick-after-commit\"}],\"state-version\":1,\"lifecycle\":[\"health\"]}")
;; end describe
