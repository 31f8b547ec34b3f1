module tutti/tests/keyfactor

go 1.21

require github.com/Keyfactor/keyfactor-go-client-sdk v1.0.2
