//! Identifiers: one type per thing that has an id, so that an execution's id cannot stand where a trigger's
//! belongs. All are UUIDs; made outside (with time and chance handed in), stored as 16 raw bytes.

use std::fmt;
use std::str::FromStr;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The 16 bytes, most significant first.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From 16 bytes, most significant first.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                self.0.as_bytes().encode(encoder)
            }
        }

        impl<C> Decode<C> for $name {
            fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                Ok(Self::from_bytes(<[u8; 16]>::decode(decoder)?))
            }
        }

        impl<'de, C> BorrowDecode<'de, C> for $name {
            fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
                Ok(Self::from_bytes(<[u8; 16]>::decode(decoder)?))
            }
        }
    )*};
}

impl AppId {
    /// What belongs to no app but to the instance (its tokens). No app ever has it.
    pub const INSTANCE: AppId = AppId::from_bytes([0; 16]);
}

id_types! {
    /// An app: the tenant. A slug that is used again gets a new id.
    AppId;
    /// A backtest: a name for what it showed, which outlives it in the proofs of redrives.
    BacktestId;
    /// One piece of work that runs a script (UUIDv7, so ids sort by creation time).
    ExecutionId;
    /// A job on dead letters.
    JobId;
    /// A dead letter.
    LetterId;
    /// Who acts: the holder of a token.
    PrincipalId;
    /// A route.
    RouteId;
    /// A trigger.
    TriggerId;
}
