"""The results: small frozen records of read-only arrays, which figures draw and files hold."""
