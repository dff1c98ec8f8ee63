module isolog/schemas

go 1.26.0

require github.com/axonops/axonops-schema-registry v0.2.1
