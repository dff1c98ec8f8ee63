module isolog/sdk

go 1.25.8

require github.com/confluentinc/ccloud-sdk-go-v2/kafkarest v0.25.0

require (
	golang.org/x/net v0.0.0-20200822124328-c89045814202 // indirect
	golang.org/x/oauth2 v0.0.0-20210323180902-22b0adad7558 // indirect
)
