//! SwarmKit's control vocabulary, one method per request, for other managers.

use skep_model::pb::messages as m;
use skep_model::{Code, ControlRequest, ControlResponse, Refusal};
use tonic::{Request, Response, Status};

use super::methods::control_methods;
use super::services::{Services, open};
use crate::status;
use crate::wire::swarmkit::control_server::Control;

macro_rules! serve {
    ($($method:ident $function:ident $request:ident $response:ident;)*) => {
        #[tonic::async_trait]
        impl Control for Services {
            $(
                async fn $function(&self, request: Request<m::$request>) -> Result<Response<m::$response>, Status> {
                    let (call, request) = open(request)?;
                    match self.backend.control(call, ControlRequest::$method(request)).await {
                        Ok(ControlResponse::$method(response)) => Ok(Response::new(response)),
                        Ok(_) => Err(status(Refusal::new(Code::Internal, "the answer belongs to another question"))),
                        Err(refusal) => Err(status(refusal)),
                    }
                }
            )*
        }
    };
}

control_methods!(serve);
