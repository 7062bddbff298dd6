//! What a broker answered, as far as a measurement has to know. Nothing of it is trusted: what is too
//! short or refuses a request ends the measurement with a reason.

use anyhow::{Context, bail, ensure};

/// Reads on through an answer's bytes.
pub(crate) struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, count: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .context("an answer that is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> anyhow::Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn i32(&mut self) -> anyhow::Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn i64(&mut self) -> anyhow::Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    /// Null counts as none.
    fn count(&mut self) -> anyhow::Result<usize> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    fn text(&mut self) -> anyhow::Result<&'a [u8]> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        self.take(length)
    }
}

/// The number of the request that an answer is to.
pub(crate) fn correlation(frame: &[u8]) -> anyhow::Result<i32> {
    Answer(frame).i32()
}

/// Checks an answer to Produce 7: every batch was taken.
pub(crate) fn produced(frame: &[u8]) -> anyhow::Result<()> {
    let mut answer = Answer(frame);
    answer.i32()?;
    for _ in 0..answer.count()? {
        answer.text()?;
        for _ in 0..answer.count()? {
            let (index, error) = (answer.i32()?, answer.i16()?);
            ensure!(
                error == 0,
                "partition {index} refused a batch with error {error}"
            );
            answer.take(24)?;
        }
    }
    Ok(())
}

/// One partition's part of an answer to Fetch 11.
pub(crate) struct Fetched<'a> {
    pub(crate) partition: usize,
    pub(crate) high_watermark: i64,
    pub(crate) records: &'a [u8],
}

/// Reads an answer to Fetch 11.
pub(crate) fn fetched<'a>(
    frame: &'a [u8],
    mut each: impl FnMut(Fetched<'a>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut answer = Answer(frame);
    answer.take(8)?;
    let error = answer.i16()?;
    ensure!(error == 0, "a fetch was refused with error {error}");
    answer.i32()?;
    for _ in 0..answer.count()? {
        answer.text()?;
        for _ in 0..answer.count()? {
            let (index, error) = (answer.i32()?, answer.i16()?);
            if error != 0 {
                bail!("partition {index} refused a fetch with error {error}");
            }
            let high_watermark = answer.i64()?;
            answer.take(16)?;
            let aborted = answer.count()?;
            answer.take(16 * aborted + 4)?;
            let length = answer.count()?;
            let records = answer.take(length)?;
            let partition = usize::try_from(index).context("a partition below 0")?;
            each(Fetched {
                partition,
                high_watermark,
                records,
            })?;
        }
    }
    Ok(())
}
