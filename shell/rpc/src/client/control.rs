//! SwarmKit's control vocabulary over the wire, one method per request.

use skep_model::{ControlRequest, ControlResponse};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::clients::MESSAGE_BYTES_MAX;
use crate::wire::swarmkit::control_client::ControlClient;

macro_rules! calls {
    ($($method:ident $function:ident $request:ident $response:ident;)*) => {
        /// Calls the method of the request's name.
        pub(super) async fn call(channel: Channel, request: ControlRequest) -> Result<Response<ControlResponse>, Status> {
            let mut client = ControlClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            match request {
                $(ControlRequest::$method(request) => {
                    client.$function(request).await.map(|response| response.map(ControlResponse::$method))
                })*
            }
        }
    };
}

crate::server::control_methods!(calls);
