//! The only place where refusals become gRPC statuses and the reverse.

use skep_model::{Code, Refusal};
use tonic::Status;

/// A refusal as it travels.
pub fn status(refusal: Refusal) -> Status {
    Status::new(to_grpc(refusal.code), refusal.message)
}

/// What came back, in our words.
pub fn refusal(status: &Status) -> Refusal {
    Refusal::new(from_grpc(status.code()), status.message())
}

fn to_grpc(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::Unimplemented => tonic::Code::Unimplemented,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::Aborted => tonic::Code::Aborted,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Unknown => tonic::Code::Unknown,
        Code::Internal => tonic::Code::Internal,
    }
}

fn from_grpc(code: tonic::Code) -> Code {
    match code {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::InvalidArgument,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::AlreadyExists => Code::AlreadyExists,
        tonic::Code::PermissionDenied => Code::PermissionDenied,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
        tonic::Code::FailedPrecondition => Code::FailedPrecondition,
        tonic::Code::Unimplemented => Code::Unimplemented,
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::ResourceExhausted => Code::ResourceExhausted,
        tonic::Code::Aborted | tonic::Code::Cancelled => Code::Aborted,
        tonic::Code::DeadlineExceeded => Code::DeadlineExceeded,
        tonic::Code::Internal | tonic::Code::DataLoss => Code::Internal,
        tonic::Code::Unknown | tonic::Code::Ok => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_as_it_went() {
        let codes = [
            Code::InvalidArgument,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::Unauthenticated,
            Code::FailedPrecondition,
            Code::Unimplemented,
            Code::Unavailable,
            Code::ResourceExhausted,
            Code::Aborted,
            Code::DeadlineExceeded,
            Code::Unknown,
            Code::Internal,
        ];
        for code in codes {
            let sent = Refusal::new(code, "why");
            assert_eq!(refusal(&status(sent.clone())), sent);
        }
    }
}
