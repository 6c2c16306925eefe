;; Imports the interface for secrets, but its manifest says nothing of them: who consented to it could not know.

;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"hostile.ungranted-import\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe

;; begin imports
(import "rustcare:plugin/secrets@0.1.0" (instance $secrets
  (type $failure-type (record (field "code" string) (field "message" string) (field "hint" string)
    (field "address" string)))
  (export "failure" (type $failure (eq $failure-type)))
  (export "hmac-sha256" (func (param "name" string) (param "data" (list u8))
    (result (result (list u8) (error $failure)))))))
;; end imports
