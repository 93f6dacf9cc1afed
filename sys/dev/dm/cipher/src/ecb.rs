//! ECB: every block by itself. And no cipher at all.

use crate::blocks::{Block, Blocks};
use crate::mode::{Mode, Run};
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt};

pub(crate) struct Ecb<C>(pub(crate) C);

impl<C> Mode for Ecb<C>
where
    C: BlockCipherEncrypt<BlockSize = U16> + BlockCipherDecrypt + Send + Sync,
{
    fn encrypt(&self, _ivs: &mut [Block], run: Run<'_, '_>) {
        Blocks::encrypt(&self.0, run.into_out_with_copied_in());
    }

    fn decrypt(&self, _ivs: &mut [Block], run: Run<'_, '_>) {
        Blocks::decrypt(&self.0, run.into_out_with_copied_in());
    }
}

/// The bytes as they are.
pub(crate) struct Null;

impl Mode for Null {
    fn encrypt(&self, _ivs: &mut [Block], run: Run<'_, '_>) {
        let _copied = run.into_out_with_copied_in();
    }

    fn decrypt(&self, _ivs: &mut [Block], run: Run<'_, '_>) {
        let _copied = run.into_out_with_copied_in();
    }
}
