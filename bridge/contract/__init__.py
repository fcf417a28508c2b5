"""The wire contract as JSON Schema, AsyncAPI, TypeScript and a page, all made of one catalog."""
