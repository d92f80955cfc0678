//! Who may connect.
//!
//! It leaves to the session how the answer looks, and to others what a client may do once it is in.

use causeway_common::packet::Connect;

use crate::{config, session::Verdict};

/// Decides about credentials.
#[derive(Clone, Debug)]
pub struct Auth {
    allow_anonymous: bool,
}

impl Auth {
    /// As configured.
    pub fn new(config: &config::Auth) -> Self {
        Self { allow_anonymous: config.allow_anonymous }
    }

    /// What is to be said of the credentials in a CONNECT. There is no password file yet, so a
    /// password proves nothing: where anonymous clients may not connect, nobody is who they say.
    pub fn judge(&self, connect: &Connect) -> Verdict {
        if self.allow_anonymous {
            return Verdict::Admitted;
        }
        match &connect.login {
            Some(_) => Verdict::BadCredentials,
            None => Verdict::NotAuthorized,
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_common::packet::Login;

    use super::*;

    #[test]
    fn a_closed_node_tells_wrong_credentials_from_none() {
        let connect = |login| Connect {
            level: 4,
            client_id: "a".into(),
            clean_session: true,
            keep_alive_secs: 0,
            will: None,
            login,
        };
        let named = connect(Some(Login { user: "bob".into(), password: None }));
        let open = Auth::new(&config::Auth { allow_anonymous: true });
        assert_eq!(open.judge(&named), Verdict::Admitted);
        let closed = Auth::new(&config::Auth { allow_anonymous: false });
        assert_eq!(closed.judge(&named), Verdict::BadCredentials);
        assert_eq!(closed.judge(&connect(None)), Verdict::NotAuthorized);
    }
}
