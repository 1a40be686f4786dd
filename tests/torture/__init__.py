"""The whole house under load while its parts are killed, stopped, starved and lied to about the time."""
